// A contact sheet: every cluster with its images and captions, for paper.

import { fill, h } from '../lib/dom.js';
import { icon } from '../lib/icons.js';
import { Pictures } from '../lib/pictures.js';
import { Curation, UNSORTED } from '../logic/curation.js';
import { sortImages } from '../logic/order.js';

export function mountSheet(element, { ui, source, result, record, document: saved }) {
  const { t, i18n } = ui;
  const pictures = new Pictures(source, result);
  const curation = new Curation(result, saved, { nameOf: (k) => (k === UNSORTED ? t('unsorted') : t('cluster.n', { k: String(k) })) });
  const side = 96;
  const picture = (address) => {
    const image = h('img', { alt: '', decoding: 'async' });
    pictures.load(image, address);
    return image;
  };
  const sections = curation.order.filter((id) => curation.members(id).length).map((id) => {
    const cluster = curation.cluster(id);
    const rows = sortImages(cluster.members, 'best', { distance: (row) => curation.distance(row), doubt: () => NaN, name: (row) => result.names[row] });
    return h('section.sheet-cluster', null,
      h('header', null, pictures.prototypeImage(cluster, 128), h('div', null, h('h2', null, curation.name(id)), h('p', null, t('n.images', { n: rows.length })),
        cluster.note && h('p', null, cluster.note), cluster.tags.length > 0 && h('p', null, cluster.tags.join(', ')))),
      h('div.sheet-images', null, rows.map((row) => {
        const { note, tags } = curation.image(row);
        return h('figure', null, picture(pictures.thumbnail(row, 'raw', side)), h('figcaption', null, h('span', null, result.names[row].slice(result.names[row].lastIndexOf('/') + 1)),
          Number.isFinite(curation.distance(row)) && h('span.num', null, i18n.distance(curation.distance(row))), note && h('em', null, note), tags.length > 0 && h('em', null, tags.join(', '))));
      })));
  });
  const waiting = h('p', { role: 'status' });
  fill(element, h('div.sheet', null,
    h('div.sheet-tools', null, ui.button(t('sheet.print'), { iconName: 'print', primary: true, onclick: () => window.print() }), h('a.button', { href: `#/e/${source.id}` }, icon('back', 16), t('sheet.back')), waiting),
    h('header.sheet-head', null, h('h1', null, record.name), h('p', null, [saved?.title ?? t('variant.raw'), saved?.author, t('n.images', { n: result.n }), i18n.date(saved?.updated_at ?? record.finished_at)].filter(Boolean).join(' · '))), sections));
  const images = [...element.querySelectorAll('img')];
  const count = () => {
    const left = images.filter((image) => !image.complete).length;
    waiting.textContent = left ? t('sheet.loading', { n: left }) : t('sheet.ready');
    if (left && element.isConnected) setTimeout(count, 400);
    else element.dataset.ready = 'sheet';
  };
  count();
  return { dispose: () => delete element.dataset.ready };
}
