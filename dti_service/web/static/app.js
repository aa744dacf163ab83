// The page: header, router, and which view belongs to which address.

import { Api } from './lib/api.js';
import { fill, h, s } from './lib/dom.js';
import { createI18n, LANGUAGES, loadWords, preferredLanguage } from './lib/i18n.js';
import { icon } from './lib/icons.js';
import { createRouter, formatHash } from './lib/router.js';
import { remembered } from './lib/store.js';
import { createUi, keyLabel } from './lib/ui.js';

// Each view is fetched when its address is first opened.
const VIEWS = {
  experiments: () => import('./views/experiments.js'),
  new: () => import('./views/start.js'),
  e: () => import('./views/experiment.js'),
  compare: () => import('./views/comparison.js'),
};

const root = document.body;
const prefs = remembered('dti.preferences', { language: null, theme: 'auto' });
const api = new Api({ base: new URL('.', document.baseURI) });
const linked = /^#\/e\/([0-9a-f-]{36})(?=[/?]|$)/.exec(location.hash)?.[1];
if (linked) api.ahead(linked, 'results/cluster_by_path.csv');
const darkQuery = matchMedia('(prefers-color-scheme: dark)');

function applyTheme() {
  const { theme } = prefs.get();
  root.dataset.theme = theme === 'auto' ? (darkQuery.matches ? 'dark' : 'light') : theme;
}
darkQuery.addEventListener('change', applyTheme);
prefs.subscribe(applyTheme);
applyTheme();

/** Everything that is in one language; made anew when the language changes. */
async function start() {
  const language = preferredLanguage(prefs.get().language);
  const i18n = createI18n(language, await loadWords(language));
  const { t } = i18n;
  document.documentElement.lang = language;
  root.replaceChildren();
  const main = h('main', { id: 'content', tabindex: -1 });
  const ui = createUi({ root, i18n, prefs });
  let view = null;
  let place = null;
  let turn = 0; // counts the views, so that a slow one does not come after a later one
  let pageTitle = '';

  /** Text of the tab; views put the state of a run in front. */
  function title(text) {
    pageTitle = text;
    document.title = text ? `${text} · DTI` : 'DTI';
  }

  const router = createRouter(show);
  const context = { api, ui, i18n, t, prefs, router, title, main };

  const links = [
    { path: [], label: t('nav.experiments'), iconName: 'rows', match: 'experiments' },
    { path: ['new'], label: t('nav.new'), iconName: 'add', match: 'new' },
  ].map(({ path, label, iconName, match }) => ({
    match, element: h('a', { href: formatHash(path) }, icon(iconName, 16), label),
  }));

  const languageMenu = ui.menuButton({
    label: t('language'),
    iconName: 'globe',
    items: () => Object.entries(LANGUAGES).map(([code, label]) => ({
      label,
      checked: code === language,
      action: () => {
        prefs.set({ language: code });
        restart();
      },
    })),
  });
  const themeMenu = ui.menuButton({
    label: t('theme'),
    iconName: root.dataset.theme === 'dark' ? 'moon' : 'sun',
    items: () => ['auto', 'light', 'dark'].map((theme) => ({
      label: t(`theme.${theme}`), checked: prefs.get().theme === theme, action: () => prefs.set({ theme }),
    })),
  });
  const skip = h('a.skip', { href: '#content', onclick: (event) => {
    event.preventDefault();
    main.focus();
  } }, t('skip'));
  const header = h('header.top', null,
    h('a.brand', { href: '#/', 'aria-label': t('brand') },
      s('svg', { viewBox: '0 0 32 32', width: 24, height: 24, fill: 'none', stroke: 'currentColor', 'stroke-width': 2.4, 'stroke-linejoin': 'round', 'aria-hidden': 'true' },
        s('path', { d: 'M5 5h13v13H5z', opacity: 0.45 }), s('path', { d: 'M12 13l12-4 4.500 12.500-12.500 5z' })),
      h('span', null, t('brand'))),
    h('nav', { 'aria-label': t('nav') }, links.map(({ element }) => element)),
    languageMenu, themeMenu,
    ui.iconButton(t('keys.title'), 'help', () => showKeys(ui), { hint: '?' }));
  root.prepend(skip, header, main);

  const endKeys = ui.keys.layer(t('keys.everywhere'), [
    { keys: ['?'], label: t('keys.help'), run: () => showKeys(ui) },
    { keys: ['/'], label: t('keys.search'), run: () => {
      const field = main.querySelector('input[type="search"]');
      field?.focus();
      return Boolean(field);
    } },
  ]);

  async function show(route) {
    const [first, id] = route.path;
    const name = first === 'e' && id ? `e/${id}` : first === 'new' || first === 'compare' ? first : 'experiments';
    for (const { match, element } of links) {
      if (match === name) element.setAttribute('aria-current', 'page');
      else element.removeAttribute('aria-current');
    }
    if (view?.update && place === name && view.update(route) !== false) return;
    const again = view !== null;
    view?.dispose?.();
    view = null;
    fill(main);
    main.className = '';
    place = name;
    turn += 1;
    const mine = turn;
    const { mount } = await VIEWS[name.startsWith('e/') ? 'e' : name]();
    if (mine !== turn) return;
    view = mount(main, context, name.startsWith('e/') ? { id, route } : route);
    main.scrollTop = 0;
    if (again) {
      main.focus({ preventScroll: true });
      ui.announce(pageTitle);
    }
  }

  router.start();
  return () => {
    turn += 1;
    view?.dispose?.();
    router.stop();
    endKeys();
    ui.keys.stop();
  };
}

function showKeys(ui) {
  const { t } = ui;
  if (document.querySelector('.dti dialog.keys-help[open]')) return;
  const sections = ui.keys.all().filter((layer) => layer.bindings.some((one) => one.label));
  ui.dialog({
    title: t('keys.title'),
    className: 'keys-help',
    build: (body) => fill(body, h('div.shortcuts', null, sections.map((layer) => h('section', null, h('h3', null, layer.title),
      h('dl', null, layer.bindings.filter((one) => one.label).map(({ keys, label }) => [
        h('dt', null, keys.slice(0, 2).flatMap((key, at) => [at ? ' ' : null, h('kbd', null, keyLabel(key, t))])),
        h('dd', null, label)])))))),
  });
}

let running = start();
async function restart() {
  (await running)();
  running = start();
}
