/* From an image file to upright RGB pixels, as the exported graph reads them. */

import { Problem } from "./problem.js";

const MOST = 50_000_000; // pixels: the network's first step needs twelve bytes for each

/* Upright, and the values as the file has them: colour profiles are not applied, in training either. */
const AS_STORED = {
  imageOrientation: "from-image",
  colorSpaceConversion: "none",
  premultiplyAlpha: "none",
};

/** (height, width, 3) uint8 of a file; what is transparent lies over the background. */
export async function pixelsOf(image, background) {
  const bitmap = await createImageBitmap(image, AS_STORED).catch(() => {
    throw new Problem("undecodable");
  });
  const { width, height } = bitmap;
  const sizes = { pixels: Math.round((width * height) / 1e6), most: MOST / 1e6 };
  if (width * height > MOST) {
    bitmap.close();
    throw new Problem("too-large", sizes);
  }
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.fillStyle = `rgb(${background})`;
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const { data } = context.getImageData(0, 0, width, height);
  if (data[3] !== 255) throw new Problem("too-large", sizes); // a canvas beyond the browser's limit
  const pixels = new Uint8Array(width * height * 3);
  for (let from = 0, to = 0; from < data.length; from += 4, to += 3) {
    pixels[to] = data[from];
    pixels[to + 1] = data[from + 1];
    pixels[to + 2] = data[from + 2];
  }
  return { pixels, width, height };
}
