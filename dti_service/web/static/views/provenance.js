// Where an image comes from, as far as the run knows.

import { fill, h } from '../lib/dom.js';
import { folderOf } from '../logic/table.js';

const HIDDEN = /^(matrix_|dist_cluster_)/;

/** A link only for what a browser should follow. */
function linked(value) {
  if (!/^https?:\/\//i.test(value)) return value;
  return h('a', { href: value, target: '_blank', rel: 'noopener noreferrer' }, value);
}

const percent = (value) => `${Math.round(value * 1000) / 10} %`;

/** Facts of the image's name and of the run's table; what the dataset knows besides is added when it arrives. */
export function provenance(view, row) {
  const { ui, result } = view;
  const { t } = ui;
  const name = result.names[row];
  const word = (key) => (t(`source.${key}`) === `source.${key}` ? key : t(`source.${key}`));
  const facts = new Map([['file', name.slice(name.lastIndexOf('/') + 1)], ['folder', folderOf(name)], ['number', String(result.ids[row])]]);
  for (const [key, value] of Object.entries(result.others(row))) if (value && !HIDDEN.test(key)) facts.set(key, value);
  const list = h('dl.facts');
  const draw = () => fill(list, [...facts].filter(([, value]) => value).map(([key, value]) => [h('dt', null, word(key)), h('dd', null, linked(value))]));
  draw();
  view.pictures.originals?.(row).then((found) => {
    if (!found) return;
    const { source = {}, width, height } = found;
    for (const key of ['document', 'page', 'label', 'src']) if (source[key] !== null && source[key] !== undefined) facts.set(key, String(source[key]));
    if (width && height) facts.set('size', t('image.size', { width, height }));
    const box = source.crop?.box;
    if (box) facts.set('crop', t('source.box', { left: percent(box[0]), top: percent(box[1]), width: percent(box[2] - box[0]), height: percent(box[3] - box[1]) }));
    draw();
  }).catch(() => {});
  return list;
}
