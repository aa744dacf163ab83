// The address after # names the place: #/e/<id>/c/3?v=reading. It is what a permalink holds.

/** {path: ['e', id], query: {v: 'reading'}} of a hash such as "#/e/<id>?v=reading". */
export function parseHash(hash) {
  const [path, query = ''] = hash.replace(/^#\/?/, '').split('?');
  return {
    path: path.split('/').filter(Boolean).map((part) => {
      try {
        return decodeURIComponent(part);
      } catch {
        return part;
      }
    }),
    query: Object.fromEntries(new URLSearchParams(query)),
  };
}

export function formatHash(path, query = {}) {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== '') search.set(name, value);
  }
  const tail = search.toString();
  return `#/${path.map((part) => encodeURIComponent(part)).join('/')}${tail ? `?${tail}` : ''}`;
}

/** Follow the address; `go` adds a step to the history, `replace` corrects the present one quietly. */
export function createRouter(onChange, target = globalThis) {
  let seen = null; // the address that the page shows already
  const changed = () => {
    if (target.location.hash === seen) return;
    seen = target.location.hash;
    onChange(parseHash(seen));
  };
  target.addEventListener('hashchange', changed);
  target.addEventListener('popstate', changed);
  return {
    current: () => parseHash(target.location.hash),
    go(path, query) {
      target.location.hash = formatHash(path, query);
    },
    /** Add a step to the history (so that "back" leaves it) without leaving the page that is shown. */
    push(path, query) {
      const hash = formatHash(path, query);
      if (hash === target.location.hash) return;
      seen = hash;
      target.history.pushState(null, '', hash);
    },
    /** Write the address without leaving the page that is shown. */
    replace(path, query) {
      const hash = formatHash(path, query);
      if (hash === target.location.hash) return;
      seen = hash;
      target.history.replaceState(null, '', hash);
    },
    start: changed,
    stop() {
      target.removeEventListener('hashchange', changed);
      target.removeEventListener('popstate', changed);
    },
  };
}
