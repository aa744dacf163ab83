// The page: header, router, and which view belongs to which address.

import { Api } from './lib/api.js';
import { h, s } from './lib/dom.js';
import { commonKeys, showKeys } from './lib/help.js';
import { createI18n, LANGUAGES, loadWords, preferredLanguage } from './lib/i18n.js';
import { icon } from './lib/icons.js';
import { createRouter, formatHash } from './lib/router.js';
import { createStage } from './lib/stage.js';
import { remembered } from './lib/store.js';
import { createUi } from './lib/ui.js';

const root = document.body;
const prefs = remembered('dti.preferences', { language: null, theme: 'auto' });
const api = new Api({ base: new URL('.', document.baseURI), early: window.dtiAhead });
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
  let pageTitle = '';

  /** Text of the tab; views put the state of a run in front. */
  function title(text) {
    pageTitle = text;
    document.title = text ? `${text} · DTI` : 'DTI';
  }

  const router = createRouter((route) => stage.show(route));
  const context = { api, ui, i18n, t, prefs, router, title, main };
  const stage = createStage(main, context, {
    onView(name) {
      for (const { match, element } of links) {
        if (match === name) element.setAttribute('aria-current', 'page');
        else element.removeAttribute('aria-current');
      }
    },
    onShown(again) {
      if (!again) return;
      main.focus({ preventScroll: true });
      ui.announce(pageTitle);
    },
  });

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

  const endKeys = commonKeys(ui, main);

  router.start();
  return () => {
    stage.dispose();
    router.stop();
    endKeys();
    ui.keys.stop();
  };
}

let running = start();
async function restart() {
  (await running)();
  running = start();
}
