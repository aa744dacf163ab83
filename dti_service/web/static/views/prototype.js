// A prototype at full size, with what else the run learnt of it: mask, masked prototype, background, variance, film.

import { fill, h } from '../lib/dom.js';

const FOLDERS = ['prototypes', 'masked_prototypes', 'masks', 'variances', 'animations', 'backgrounds'];

/** What there is to see of prototype k: [{folder, path}]. */
async function learned(source, k) {
  const lists = await Promise.all(FOLDERS.map((folder) => source.files(`${folder}/`).catch(() => [])));
  const own = new RegExp(`\\D${k}\\.(png|jpg|gif)$`);
  return FOLDERS.flatMap((folder, at) => lists[at].filter((path) => folder === 'backgrounds' || own.test(path)).map((path) => ({ folder, path })));
}

export function prototypeDialog(view, id) {
  const { ui, session, source } = view;
  const { t } = ui;
  const { curation } = session;
  const cluster = curation.cluster(id);
  const name = curation.name(id);
  return ui.dialog({
    title: t('prototype.of', { name }),
    className: 'prototype-dialog',
    build: (body) => {
      if (cluster.prototype === null) {
        fill(body, h('p', null, t('prototype.none')));
        return;
      }
      const figure = (path, label) => h('figure', null, h('img.checkered', { alt: label, src: source.file(`results/${path}`) }), h('figcaption', null, label));
      const shelf = h('div.learned', null, figure(`prototypes/prototype${cluster.prototype}.png`, t('learned.prototypes')));
      fill(body, shelf, cluster.note && h('p', null, cluster.note));
      learned(source, cluster.prototype).then((found) => {
        shelf.append(...found.filter(({ folder }) => folder !== 'prototypes').map(({ folder, path }) => figure(path, t(`learned.${folder}`))));
      });
    },
  });
}
