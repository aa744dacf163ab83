// A prototype at full size, with what else the run learnt of it: mask, masked prototype, background, variance, film.

import { fill, h } from '../lib/dom.js';

const SETS = [
  ['prototypes', 'prototype', 'png'], ['masked_prototypes', 'prototype', 'png'], ['masks', 'mask', 'png'], ['variances', 'variance', 'png'],
  ['animations', 'prototype', 'gif'],
];

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
      const figure = (path, label) => h('figure', null,
        h('img.checkered', { alt: label, src: source.file(path), onerror: (event) => event.target.closest('figure').remove() }), h('figcaption', null, label));
      const shown = SETS.map(([folder, stem, suffix]) => figure(`results/${folder}/${stem}${cluster.prototype}.${suffix}`, t(`learned.${folder}`)));
      const grounds = Array.from({ length: view.backgrounds ?? 0 }, (_, j) => figure(`results/backgrounds/background${j}.png`, t('learned.backgrounds')));
      fill(body, h('div.learned', null, shown, grounds), cluster.note && h('p', null, cluster.note));
    },
  });
}
