// The keys that work in every view, and the window that lists those of the moment.

import { fill, h } from './dom.js';
import { keyLabel } from './ui.js';

/** The keys of all views: help, and the search field of the view in `main`. Returns the function that ends them. */
export function commonKeys(ui, main) {
  const { t } = ui;
  return ui.keys.layer(t('keys.everywhere'), [
    { keys: ['?'], label: t('keys.help'), run: () => showKeys(ui) },
    { keys: ['/'], label: t('keys.search'), run: () => {
      const field = main.querySelector('input[type="search"]');
      field?.focus();
      return Boolean(field);
    } },
  ]);
}

export function showKeys(ui) {
  const { t, root } = ui;
  if (root.querySelector('dialog.keys-help[open]')) return;
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
