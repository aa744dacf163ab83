// The page's views inside another document, such as the output of a notebook's cell.

import { Api } from './lib/api.js';
import { h } from './lib/dom.js';
import { commonKeys } from './lib/help.js';
import { createI18n, loadWords, preferredLanguage } from './lib/i18n.js';
import { icon } from './lib/icons.js';
import { formatHash, parseHash } from './lib/router.js';
import { createStage } from './lib/stage.js';
import { remembered } from './lib/store.js';
import { createUi } from './lib/ui.js';

const SHEETS = ['base', 'lists', 'viewer', 'embed'];

/** Put the style sheets into the document, once; the promise is kept when they are there. */
function styled() {
  return Promise.all(SHEETS.map((name) => {
    const href = new URL(`./css/${name}.css`, import.meta.url).href;
    const there = [...document.querySelectorAll('link[data-dti-sheet]')].find((link) => link.href === href);
    if (there?.sheet) return null;
    const link = there ?? h('link', { rel: 'stylesheet', href, dataset: { dtiSheet: name } });
    if (!there) document.head.append(link);
    return new Promise((resolve) => {
      link.addEventListener('load', resolve);
      link.addEventListener('error', resolve);
    });
  }));
}

/** Follow the theme of JupyterLab where it is around, else the reader's own. Returns stop(). */
function themed(element) {
  const query = matchMedia('(prefers-color-scheme: dark)');
  const apply = () => {
    const light = document.body.dataset.jpThemeLight;
    element.dataset.theme = (light === undefined ? query.matches : light === 'false') ? 'dark' : 'light';
  };
  const observer = new MutationObserver(apply);
  observer.observe(document.body, { attributes: true, attributeFilter: ['data-jp-theme-light'] });
  query.addEventListener('change', apply);
  apply();
  return () => {
    observer.disconnect();
    query.removeEventListener('change', apply);
  };
}

/** The router of a view that has no address bar: its place is kept here, with a history of its own. */
function innerRouter(start, onChange) {
  let hash = start;
  return {
    current: () => parseHash(hash),
    hash: () => hash,
    go(path, query) {
      hash = formatHash(path, query);
      onChange(parseHash(hash));
    },
    follow(address) {
      hash = address;
      onChange(parseHash(hash));
    },
    push(path, query) { hash = formatHash(path, query); },
    replace(path, query) { hash = formatHash(path, query); },
    start: () => onChange(parseHash(hash)),
    stop() {},
  };
}

/**
 * Fill `element` with the view at `address` ("#/e/<id>", "#/new", "#/"), which talks to `api` (or to the server whose
 * page is at `base`). `kind` chooses its height. `onResult(view)` gets each ResultView. Returns {dispose()}.
 */
export async function embed(element, { base, api = new Api({ base }), address = '#/', kind = 'browser', onResult = null }) {
  const prefs = remembered('dti.preferences', { language: null, theme: 'auto' });
  const language = preferredLanguage(prefs.get().language);
  const [words] = await Promise.all([loadWords(language), styled()]);
  const i18n = createI18n(language, words);
  const { t } = i18n;
  element.classList.add('dti', 'dti-embed');
  element.dataset.kind = kind;
  element.dataset.lmSuppressShortcuts = 'true'; // keys pressed in here are not JupyterLab's
  element.lang = language;
  const endTheme = themed(element);
  // One form for each view: radio buttons of two views in one document would be one group otherwise.
  const main = h('main', { role: 'region', 'aria-label': t('brand'), tabindex: -1 });
  const form = h('form.embed-form', { novalidate: true, onsubmit: (event) => event.target === form && event.preventDefault() }, main);
  const tab = h('a', { target: '_blank', rel: 'noopener', href: api.base }, t('embed.tab'), icon('open', 13));
  const foot = h('footer.embed-foot', null, h('span', null, t('brand')), h('span.spacer'), /^https?:/.test(api.base) && tab);
  element.replaceChildren(form, foot);
  const ui = createUi({ root: element, i18n, prefs });
  const router = innerRouter(address, (route) => stage.show(route));
  const context = { api, ui, i18n, t, prefs, router, title: () => {}, main, onResult };
  const stage = createStage(main, context);
  const endKeys = commonKeys(ui, main);

  // Links from view to view are followed in here; the link to the page leads to the same place there.
  function follow(event) {
    const link = event.target.closest?.('a[href]');
    if (!link || event.defaultPrevented) return;
    if (link === tab) link.href = new URL(router.hash(), api.base).href;
    const hash = link.getAttribute('href');
    if (!hash.startsWith('#/') || link.target === '_blank' || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    router.follow(hash);
  }
  element.addEventListener('click', follow);
  element.addEventListener('auxclick', follow);
  // What is dragged, scrolled or pressed in here is not the surroundings' either.
  const keep = (event) => event.stopPropagation();
  for (const type of ['keydown', 'contextmenu', 'dblclick', 'paste', 'copy', 'cut']) element.addEventListener(type, keep);

  router.start();
  return {
    dispose() {
      stage.dispose();
      endKeys();
      ui.keys.stop();
      endTheme();
      element.removeEventListener('click', follow);
      element.removeEventListener('auxclick', follow);
      for (const type of ['keydown', 'contextmenu', 'dblclick', 'paste', 'copy', 'cut']) element.removeEventListener(type, keep);
      element.replaceChildren();
    },
  };
}
