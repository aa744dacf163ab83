// A value that others may watch. Views read it and subscribe; nothing else is shared between them.

/** `set` merges a patch (or the result of a function of the old value) and tells each subscriber. */
export function createStore(initial) {
  let value = initial;
  const listeners = new Set();
  return {
    get: () => value,
    set(patch) {
      const before = value;
      const change = typeof patch === 'function' ? patch(value) : patch;
      const differs = Object.keys(change).some((key) => !Object.is(before[key], change[key]));
      if (!differs) return;
      value = { ...before, ...change };
      for (const listener of [...listeners]) listener(value, before);
    },
    /** Call `listener(value, before)` after each change; returns the function that ends it. */
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

/** A small record that survives a reload, in the browser's storage when it is allowed. */
export function remembered(key, defaults, storage = safeStorage()) {
  let start = defaults;
  try {
    start = { ...defaults, ...JSON.parse(storage.getItem(key) ?? '{}') };
  } catch {
    // An unreadable preference is no reason to stop: the defaults are used.
  }
  const store = createStore(start);
  store.subscribe((value) => {
    try {
      storage.setItem(key, JSON.stringify(value));
    } catch {
      // Full or forbidden storage: the preference lasts for this page only.
    }
  });
  return store;
}

/** localStorage, or a stand-in where the browser forbids it (private windows, sandboxed frames). */
export function safeStorage() {
  try {
    const storage = globalThis.localStorage;
    storage.getItem('dti');
    return storage;
  } catch {
    const memory = new Map();
    return {
      getItem: (key) => memory.get(key) ?? null,
      setItem: (key, value) => memory.set(key, value),
      removeItem: (key) => memory.delete(key),
    };
  }
}
