/* The model under ONNX Runtime, beside the page so that the page stays quick. */

import * as ort from "./onnxruntime.js";
import { pixelsOf } from "./pixels.js";
import { Problem, asProblem } from "./problem.js";

const MODEL = "model.onnx";
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
  const card = await (await fetched("model.json")).json();
  const model = await modelFile(site, await expected(MODEL), tell);
  tell("compiling");
  // Threads share memory, which browsers allow on isolated pages only: see service-worker.js.
  const cores = Math.min(navigator.hardwareConcurrency ?? 1, MOST_THREADS);
  ort.env.wasm.numThreads = self.crossOriginIsolated ? cores : 1;
  ort.env.wasm.wasmPaths = { mjs: beside("onnxruntime-wasm.js"), wasm: beside("onnxruntime.wasm") };
  session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
  background = card.preprocess.background;
  return { card, offline: site !== null };
}

async function predict({ image }) {
  const { pixels, width, height } = await pixelsOf(image, background);
  const input = new ort.Tensor("uint8", pixels, [height, width, 3]);
  const { probability } = await session.run({ image: input });
  return { probability: probability.data };
}

/* The model, as it was exported: from the cache, or from the site and then into the cache. */
async function modelFile(site, sum, tell) {
  const name = `resnets ${site} model ${sum}`; // an address for what the file holds
  const cache = site === null ? null : await caches.open(name);
  const hit = await cache?.match(MODEL);
  const response = hit ?? (await fetched(MODEL, { cache: "no-cache" }));
  const bytes = await read(response, tell);
  if (sum && crypto.subtle && (await sha256(bytes)) !== sum) {
    await cache?.delete(MODEL);
    throw new Problem("damaged", { file: MODEL });
  }
  if (cache && !hit) await keep(cache, name, site, bytes);
  return bytes;
}

/* Keep the model and let earlier ones of this site go. */
async function keep(cache, name, site, bytes) {
  await cache.put(MODEL, new Response(bytes));
  for (const other of await caches.keys()) {
    if (other.startsWith(`resnets ${site} model `) && other !== name) await caches.delete(other);
  }
}

async function read(response, tell) {
  const size = Number(response.headers.get("Content-Length")) || 0;
  const parts = [];
  let done = 0;
  for (const reader = response.body.getReader(); ; ) {
    const part = await reader.read();
    if (part.done) break;
    parts.push(part.value);
    done += part.value.length;
    const total = Math.max(size, done); // a compressed answer tells a smaller length
    tell("loading", { done: Math.round(done / 1e6), size: Math.round(total / 1e6) }, done / total);
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

async function expected(name) {
  const sums = await (await fetched("SHA256SUMS")).text();
  return sums.split("\n").find((line) => line.endsWith(`  ${name}`))?.split(" ")[0];
}

function beside(name) {
  return new URL(name, import.meta.url).href;
}

async function sha256(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function fetched(name, options) {
  const response = await fetch(name, options).catch(() => null);
  if (!response?.ok) throw new Problem("missing", { file: name });
  return response;
}
