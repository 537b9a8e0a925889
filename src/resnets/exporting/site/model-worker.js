/* The model under ONNX Runtime, beside the page so that the page stays quick. */

import * as ort from "./onnxruntime.js";
import { loadCard, loadModel } from "./model-file.js";
import { pixelsOf } from "./pixels.js";
import { asProblem } from "./problem.js";

const MOST_THREADS = 4;

let session, background;

const answers = { load, predict };

self.onmessage = async ({ data: { ask, ...question }, ports: [port] }) => {
  try {
    port.postMessage(await answers[ask](question, (...state) => port.postMessage({ state })));
  } catch (error) {
    const { word, values } = asProblem(error);
    port.postMessage({ problem: { word, values } });
  }
};

async function load({ site }, tell) {
  const { card, sum } = await loadCard();
  const { bytes, kept } = await loadModel(site, sum, card.export.proof.size[1], tell);
  tell("compiling");
  // Threads share memory, which browsers allow on isolated pages only: see service-worker.js.
  const cores = Math.min(navigator.hardwareConcurrency ?? 1, MOST_THREADS);
  ort.env.wasm.numThreads = self.crossOriginIsolated ? cores : 1;
  ort.env.wasm.wasmPaths = { mjs: beside("onnxruntime-wasm.js"), wasm: beside("onnxruntime.wasm") };
  session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
  background = card.preprocess.background;
  return { card, offline: kept };
}

async function predict({ image }) {
  const { pixels, width, height } = await pixelsOf(image, background);
  const input = new ort.Tensor("uint8", pixels, [height, width, 3]);
  const { probability } = await session.run({ image: input });
  return { probability: probability.data };
}

function beside(name) {
  return new URL(name, import.meta.url).href;
}
