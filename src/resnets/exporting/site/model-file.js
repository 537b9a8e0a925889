/* The file of the model: loaded once, kept by what it holds, and never another than was exported. */

import { Problem } from "./problem.js";

const MODEL = "model.onnx";
const CARD = "model.json";
const MEGABYTE = 1e6;

/** The model's card and the hash of its file: of one export, whatever caches on the way hold. */
export async function loadCard() {
  const sums = await (await fetched("SHA256SUMS", { cache: "no-cache" })).text();
  const bytes = await (await fetched(CARD, { cache: "no-cache" })).arrayBuffer();
  if (crypto.subtle && (await sha256(bytes)) !== expected(sums, CARD)) {
    throw new Problem("damaged", { file: CARD });
  }
  return { card: JSON.parse(new TextDecoder().decode(bytes)), sum: expected(sums, MODEL) };
}

/** Its bytes, and whether they are kept for use without a network; ``size`` is what it has. */
export async function loadModel(site, sum, size, tell) {
  const prefix = `resnets ${site} model `;
  const cache = site === null ? null : await caches.open(prefix + sum).catch(() => null);
  const hit = await cache?.match(MODEL);
  const bytes = await read(hit ?? (await fetched(MODEL, { cache: "no-cache" })), size, tell);
  if (bytes === null || (crypto.subtle && (await sha256(bytes)) !== sum)) {
    await cache?.delete(MODEL);
    throw new Problem("damaged", { file: MODEL });
  }
  const kept = Boolean(hit) || (cache !== null && (await keep(cache, bytes)));
  if (kept) await letOthersGo(prefix, sum);
  return { bytes, kept };
}

/* The answer to a request for a file of the site. */
async function fetched(name, options) {
  const response = await fetch(name, options).catch(() => null);
  if (!response?.ok) throw new Problem("missing", { file: name });
  return response;
}

/* All of a body, or null where it has not that size. */
async function read(response, size, tell) {
  const bytes = new Uint8Array(size);
  let done = 0;
  for (const reader = response.body.getReader(); ; ) {
    const part = await reader.read();
    if (part.done) return done === size ? bytes : null;
    if (done + part.value.length > size) return null;
    bytes.set(part.value, done);
    done += part.value.length;
    const told = { done: Math.round(done / MEGABYTE), size: Math.round(size / MEGABYTE) };
    tell("loading", told, done / size);
  }
}

async function keep(cache, bytes) {
  try {
    await cache.put(MODEL, new Response(bytes));
    return true;
  } catch {
    return false; // no room
  }
}

async function letOthersGo(prefix, sum) {
  for (const name of await caches.keys()) {
    if (name.startsWith(prefix) && name !== prefix + sum) await caches.delete(name);
  }
}

function expected(sums, name) {
  return sums.split("\n").find((line) => line.endsWith(`  ${name}`))?.split(" ")[0];
}

async function sha256(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
