// Small pictures of the clusters that are near to an image, with their distances.

import { h } from '../lib/dom.js';
import { keyLabel } from '../lib/ui.js';

/** A cluster as a line: prototype, name, distance. */
export function clusterLabel(view, id, distance) {
  const { ui, session, pictures } = view;
  const cluster = session.curation.cluster(id);
  return h('div.near-line', null, pictures.prototypeImage(cluster, 44),
    h('span', null, h('strong', null, session.curation.name(id)),
      h('span.muted.num', null, Number.isFinite(distance) ? ui.t('distance.short', { distance: ui.i18n.distance(distance) }) : ui.t('distance.none'))));
}

/** The three nearest clusters; a click (or the key 1 to 3) moves the image there. */
export function nearestCards(view, row, { onmove }) {
  const { ui, session, pictures, result } = view;
  const { t, i18n } = ui;
  const { curation } = session;
  const near = curation.nearest(row, 3);
  if (near.length < 2) return h('p.muted', null, t(result.whole ? 'near.unknown' : 'loading'));
  const own = curation.place[row];
  return h('ol.near', null, near.map(({ id, distance }, at) => {
    const cluster = curation.cluster(id);
    const here = id === own;
    return h('li', null, h('button.near-card', {
      type: 'button', 'aria-disabled': here ? 'true' : null, title: here ? t('near.here') : t('near.move', { name: curation.name(id) }), class: here ? 'here' : '',
      onclick: () => !here && onmove(id),
    }, pictures.prototypeImage(cluster, 56), h('span.near-name', null, curation.name(id)),
    h('span.num', null, i18n.distance(distance)), here ? h('span.muted', null, t('near.here.short')) : h('kbd', null, keyLabel(String(at + 1), t))));
  }));
}
