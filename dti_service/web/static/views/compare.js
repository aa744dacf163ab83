// What differs between two readings of one result.

import { fill, h } from '../lib/dom.js';
import { Curation, difference } from '../logic/curation.js';

export function compareDialog(view) {
  const { ui, session, pictures, result } = view;
  const { t, i18n } = ui;
  const label = (name) => (name === null ? t('variant.raw') : session.variants.find((one) => one.name === name)?.title ?? name);
  const known = [null, ...session.variants.map((one) => one.name)];
  const load = async (name) => {
    if (name === session.name) return session.curation;
    const document = name === null ? null : (await session.source.curation(name)).document;
    return new Curation(result, document, { nameOf: session.nameOf });
  };
  return ui.dialog({
    title: t('variant.compare'),
    className: 'wide',
    build: (body) => {
      const select = (id, value) => h('select', { id }, known.map((name) => h('option', { value: name ?? '', selected: name === value }, label(name))));
      const a = select('compare-a', session.name === null ? session.variants[0]?.name ?? null : null);
      const b = select('compare-b', session.name);
      const list = h('div.compare-list', { role: 'region', 'aria-live': 'polite', 'aria-label': t('compare.found') });
      async function draw() {
        try {
          const [first, second] = [await load(a.value || null), await load(b.value || null)];
          const { moves, renamed } = difference(first, second);
          const total = moves.reduce((sum, { rows }) => sum + rows.length, 0);
          fill(list, h('p', null, total || renamed.length ? t('compare.moved', { n: total, share: i18n.percent(total / result.n) }) : t('compare.same')),
            renamed.length > 0 && h('section', null, h('h3', null, t('compare.renamed')), h('ul', null, renamed.map(({ from, to }) => h('li', null, `${from} → ${to}`)))),
            moves.map(({ from, to, fromId, toId, rows }) => h('section.compare-move', null,
              h('h3', null, first.has(fromId) && pictures.prototypeImage(first.cluster(fromId), 40), h('span', null, from), h('span.muted', { 'aria-label': t('compare.to') }, '→'),
                second.has(toId) && pictures.prototypeImage(second.cluster(toId), 40), h('span', null, to), h('span.muted.num', null, t('n.images', { n: rows.length }))),
              h('div.compare-images', null, rows.slice(0, 40).map((row) => {
                const image = h('img', { alt: result.names[row], title: result.names[row], loading: 'lazy', decoding: 'async' });
                pictures.load(image, pictures.thumbnail(row, 'raw', 56));
                return image;
              }), rows.length > 40 && h('span.muted.num', null, `+${i18n.number(rows.length - 40)}`)))));
        } catch (error) {
          fill(list, h('p.error-text', null, error.message));
        }
      }
      a.addEventListener('change', draw);
      b.addEventListener('change', draw);
      fill(body, h('div.compare-head', null, h('label.inline', { for: 'compare-a' }, t('compare.from')), a, h('label.inline', { for: 'compare-b' }, t('compare.with')), b), list);
      return { ready: draw };
    },
  });
}
