// Where an image comes from, as far as the run knows.

import { fill, h } from '../lib/dom.js';
import { folderOf, UNNAMED } from '../logic/table.js';

const HIDDEN = /^(matrix_.*|dist_cluster_.*|layers)$/; // what the image's picture shows better

/** A link only for what a browser should follow. */
function linked(value) {
  if (!/^https?:\/\//i.test(value)) return value;
  return h('a', { href: value, target: '_blank', rel: 'noopener noreferrer' }, value);
}

const percent = (value) => `${Math.round(value * 1000) / 10} %`;

/** Width and height in pixels of the page that a crop was cut from, or null. */
function pageOf([left, top, right, bottom], pixels, width, height) {
  const cut = pixels ? [pixels[2] - pixels[0], pixels[3] - pixels[1]] : [width, height];
  const page = [cut[0] / (right - left), cut[1] / (bottom - top)];
  return page.every((side) => Number.isFinite(side) && side > 0) ? page : null;
}

/** The outline of the page with the crop in its place. Page pictures of other servers are not fetched, only linked. */
function framed(view, row, [left, top, right, bottom], page) {
  const { t } = view.ui;
  const share = (value) => `${value * 100}%`;
  const crop = h('img', { alt: t('source.framed'), decoding: 'async', style: { left: share(left), top: share(top), width: share(right - left), height: share(bottom - top) } });
  view.pictures.load(crop, view.pictures.thumbnail(row, 'raw', 128));
  return h('figure.page-frame', { style: { aspectRatio: `${page[0]} / ${page[1]}` } }, crop);
}

/** Facts of the image's name and of the run's table; what the dataset knows besides is added when it arrives. */
export function provenance(view, row) {
  const { ui, result } = view;
  const { t } = ui;
  const name = result.names[row];
  const word = (key) => (t(`source.${key}`) === `source.${key}` ? key : t(`source.${key}`));
  const facts = new Map([['file', name.slice(name.lastIndexOf('/') + 1)], ['folder', folderOf(name)], ['number', String(result.ids[row])]]);
  for (const [key, value] of Object.entries(result.others(row))) if (value && !HIDDEN.test(key) && !(key === 'document' && value === UNNAMED)) facts.set(key, value);
  const list = h('dl.facts');
  const draw = () => fill(list, [...facts].filter(([, value]) => value).map(([key, value]) => [h('dt', null, word(key)), h('dd', null, linked(value))]));
  draw();
  view.pictures.originals?.(row, result.ids[row]).then((found) => {
    if (!found) return;
    const { source = {}, width, height } = found;
    // Of files that somebody sent, how they are filed here says nothing to a reader.
    const ours = source.type === 'upload' ? ['src'] : [];
    for (const key of ['document', 'page', 'label', 'src']) if (source[key] !== null && source[key] !== undefined && !ours.includes(key) && source[key] !== UNNAMED) facts.set(key, String(source[key]));
    if (width && height) facts.set('size', t('image.size', { width, height }));
    const box = source.crop?.box;
    const page = box && pageOf(box, source.crop.pixels, width, height);
    if (page) list.after(framed(view, row, box, page));
    if (box) facts.set('crop', t('source.box', { left: percent(box[0]), top: percent(box[1]), width: percent(box[2] - box[0]), height: percent(box[3] - box[1]) }));
    draw();
  }).catch(() => {});
  return list;
}
