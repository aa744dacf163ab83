// The first thing that the page runs, before its modules are there: what a link to an experiment leads to is asked for at
// once, and the words of the reader's language. The first requests for them take these answers (Api.fetch in lib/api.js).

(() => {
  const id = /^#\/e\/([0-9a-f-]{36})(?=[/?]|$)/.exec(location.hash)?.[1];
  if (id) window.dtiAhead = new Map([`experiments/${id}`, `experiments/${id}/members`].map((path) => [path, fetch(`api/${path}`).catch(() => null)]));
  let chosen = null;
  try {
    chosen = JSON.parse(localStorage.getItem('dti.preferences'))?.language;
  } catch {
    // Nothing is remembered: the browser's language it is.
  }
  const language = [chosen, ...navigator.languages].map((tag) => String(tag).slice(0, 2).toLowerCase()).find((tag) => ['en', 'fr'].includes(tag)) ?? 'en';
  const words = document.createElement('link');
  words.rel = 'modulepreload';
  words.href = new URL(`i18n/${language}.js`, document.currentScript.src).href;
  document.head.append(words);
})();
