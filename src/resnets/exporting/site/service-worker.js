/* Keeps the site for use without a network. VERSION and FILES stand above: the export wrote them,
   so that another export is another file, which browsers notice. The model is kept by its worker. */

const PREFIX = `resnets ${self.registration.scope} site `;
const CACHE = PREFIX + VERSION;

/* With these, pages may share memory between threads: the model runs on several cores. */
const ISOLATED = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
};

self.addEventListener("install", (event) => {
  self.skipWaiting();
  event.waitUntil(keepAll());
});

self.addEventListener("activate", (event) => {
  event.waitUntil(letOthersGo().then(() => self.clients.claim()));
});

self.addEventListener("fetch", (event) => {
  const { url } = event.request;
  if (event.request.method !== "GET" || !url.startsWith(self.registration.scope)) return;
  const name = url.slice(self.registration.scope.length).split(/[?#]/)[0] || "index.html";
  if (FILES.includes(name)) event.respondWith(answer(name, event.request));
});

/* All or nothing: files of two versions never meet. */
async function keepAll() {
  const cache = await caches.open(CACHE);
  await cache.addAll(FILES.map((name) => new Request(name, { cache: "no-cache" })));
}

async function letOthersGo() {
  for (const name of await caches.keys()) {
    if (name.startsWith(PREFIX) && name !== CACHE) await caches.delete(name);
  }
}

async function answer(name, request) {
  const kept = await (await caches.open(CACHE)).match(name);
  if (!kept) return fetch(request); // browsers may clear what is kept
  const headers = new Headers(kept.headers);
  for (const [header, value] of Object.entries(ISOLATED)) headers.set(header, value);
  return new Response(kept.body, { status: kept.status, headers });
}
