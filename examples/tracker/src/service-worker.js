// Keeps the page itself available without a network; the data is Landfall's business.
// The build replaces the two constants.
const PRECACHED = __PRECACHED__;
const CACHE = `tracker-${__VERSION__}`;
// The files are the same whoever asks: a `Vary` header must not hide them.
const stored = request => caches.match(request, { cacheName: CACHE, ignoreVary: true });

self.addEventListener('install', event => {
  event.waitUntil(caches.open(CACHE).then(cache => cache.addAll(PRECACHED)).then(() => self.skipWaiting()));
});

self.addEventListener('activate', event => {
  const removeOld = async () => {
    for (const name of await caches.keys()) if (name.startsWith('tracker-') && name !== CACHE) await caches.delete(name);
    await self.clients.claim();
  };
  event.waitUntil(removeOld());
});

self.addEventListener('fetch', event => {
  const { request } = event;
  const url = new URL(request.url);
  if (request.method !== 'GET' || url.origin !== self.location.origin || url.pathname.startsWith('/sync')) return;
  if (request.mode === 'navigate') {
    // Fresh page when there is a network, the stored one when there is none.
    event.respondWith(fetch(request).catch(() => stored('/')));
    return;
  }
  event.respondWith(stored(request).then(response => response ?? fetch(request)));
});
