/* Answers from the service, over HTTP. */

import { Problem } from "./problem.js";

const TOP = 5;
const TRIES = 5;
const LONGEST_WAIT = 30; // seconds, whatever the service asks for

/** See backend.js. */
export async function connect({ askToken, changed }) {
  const send = sender(askToken);

  async function about() {
    const { card, model, explains } = await read(await send("v1/model"));
    return { card, sha: model, explains };
  }

  const backend = {
    ...(await about()),
    report: (await isOpen("report")) ? "report" : null,
    place: { word: "there", values: { host: location.host } },

    async predict(image, { waiting }) {
      const response = await send(`v1/predict?top=${TOP}`, { body: image, waiting });
      const { model, results } = await read(response);
      if (model !== backend.sha) changed(Object.assign(backend, await about()));
      return results[0];
    },

    async explain(image, label, { waiting }) {
      // a name with lone surrogates, which no address can hold: the answer is explained unasked
      const asked = /\p{Surrogate}/u.test(label) ? "" : `?label=${encodeURIComponent(label)}`;
      const response = await send(`v1/explain${asked}`, { body: image, waiting });
      return response.status === 409 ? null : (await read(response)).maps;
    },
  };
  return backend;
}

/* Requests that carry the token once it was asked for, and that wait for a busy service. */
function sender(askToken) {
  let token = null;
  return async function send(address, { body = null, waiting = () => {} } = {}) {
    for (let turn = 1; ; ) {
      const headers = token === null ? {} : { Authorization: `Bearer ${token}` };
      const response = await request(address, { method: body ? "POST" : "GET", body, headers });
      if (response.status === 401) {
        token = await askToken({ wrong: token !== null });
      } else if ([429, 503].includes(response.status)) {
        if (turn++ === TRIES) throw new Problem("too-busy");
        await countDown(secondsIn(response), waiting);
      } else {
        return response;
      }
    }
  };
}

async function request(address, options) {
  try {
    return await fetch(address, { ...options, cache: "no-store" });
  } catch {
    throw new Problem("unreachable", { host: location.host });
  }
}

/* Whether a link leads there: links carry no token. */
async function isOpen(address) {
  const response = await request(address, { method: "GET" });
  response.body?.cancel();
  return response.ok;
}

async function read(response) {
  const found = await response.json().catch(() => null);
  if (response.ok && found !== null) return found;
  if (found?.error?.problem) throw new Problem("told", { fix: "", ...found.error });
  throw new Problem("status", { status: response.status });
}

function secondsIn(response) {
  const asked = Number(response.headers.get("Retry-After") ?? 1);
  return Math.min(Math.max(Number.isFinite(asked) ? Math.ceil(asked) : 1, 1), LONGEST_WAIT);
}

async function countDown(seconds, waiting) {
  for (let left = seconds; left > 0; left -= 1) {
    waiting(left);
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
}
