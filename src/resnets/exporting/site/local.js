/* Answers from this browser: a worker holds the model, a service worker keeps the site. */

import { Problem } from "./problem.js";

const TOP = 5;

/** See backend.js of the service. */
export async function connect({ loading, place }) {
  place({ word: "here", values: {} });
  const site = await kept();
  const worker = new Worker("model-worker.js", { type: "module" });
  const { card, offline } = await ask(worker, { ask: "load", site }, loading);
  return {
    card,
    sha: card.export.source,
    report: null,
    place: { word: offline ? "offline" : "here", values: {} },
    explains: false,

    async predict(image) {
      const { probability } = await ask(worker, { ask: "predict", image });
      return ranked(probability, card);
    },
  };
}

/* The address under which the site is kept for use without a network; null where it cannot be. */
async function kept() {
  if (!("serviceWorker" in navigator)) return null; // over plain HTTP, or turned off
  try {
    const registration = await navigator.serviceWorker.register("service-worker.js");
    if (!registration.active) await activated(registration.installing ?? registration.waiting);
    return registration.scope;
  } catch {
    return null; // no room, a file that is not there: the page answers all the same
  }
}

function activated(worker) {
  return new Promise((resolve, reject) => {
    const look = () => {
      if (worker.state === "activated") resolve();
      if (worker.state === "redundant") reject(new Error("it could not keep the site"));
    };
    worker.addEventListener("statechange", look);
    look();
  });
}

/* One question to the worker: its answer comes on a channel of its own. */
function ask(worker, question, loading) {
  return new Promise((resolve, reject) => {
    const { port1, port2 } = new MessageChannel();
    const fail = (problem) => reject(new Problem(problem.word, problem.values));
    worker.onerror = (event) => {
      fail({ word: "crashed", values: { reason: event.message ?? "the worker did not start" } });
    };
    port1.onmessage = ({ data }) => {
      if (data.state) return loading(...data.state);
      port1.close();
      return data.problem ? fail(data.problem) : resolve(data);
    };
    worker.postMessage(question, [port2]);
  });
}

function ranked(probability, { label_names: names, threshold }) {
  const order = [...probability.keys()].sort((a, b) => probability[b] - probability[a]);
  const predictions = order
    .slice(0, TOP)
    .map((index) => ({ label: names[index], probability: probability[index] }));
  const unsure = threshold == null ? undefined : predictions[0].probability < threshold;
  return { predictions, unsure };
}
