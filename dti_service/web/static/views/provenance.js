// Where an image comes from, as far as the run knows.

import { h } from '../lib/dom.js';
import { folderOf } from '../logic/table.js';

const HIDDEN = /^(matrix_|dist_cluster_)/;

/** A link only for what a browser should follow. */
function linked(value) {
  if (!/^https?:\/\//i.test(value)) return value;
  return h('a', { href: value, target: '_blank', rel: 'noopener noreferrer' }, value);
}

export function provenance(view, row) {
  const { ui, result } = view;
  const { t } = ui;
  const name = result.names[row];
  const facts = [[t('source.file'), name.slice(name.lastIndexOf('/') + 1)], [t('source.folder'), folderOf(name)], [t('source.number'), String(result.ids[row])]];
  for (const [key, value] of Object.entries(result.others(row))) {
    if (!value || HIDDEN.test(key)) continue;
    const label = t(`source.${key}`);
    facts.push([label === `source.${key}` ? key : label, value]);
  }
  return h('dl.facts', null, facts.filter(([, value]) => value).map(([label, value]) => [h('dt', null, label), h('dd', null, linked(value))]));
}
