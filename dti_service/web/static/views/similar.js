// "Find others like this one", over the whole set.

import { fill, h } from '../lib/dom.js';
import { icon } from '../lib/icons.js';
import { similar } from '../logic/order.js';

export function openSimilar(view, row) {
  const { ui, result, pictures, session } = view;
  const { t } = ui;
  const found = similar(result, row, 60);
  return ui.dialog({
    title: t('similar.title', { name: result.names[row].slice(result.names[row].lastIndexOf('/') + 1) }),
    className: 'wide',
    build: (body, close) => {
      if (!found.length) {
        fill(body, h('p', null, t('similar.none')));
        return null;
      }
      const picture = (one, side) => {
        const image = h('img', { alt: '', decoding: 'async', loading: 'lazy' });
        pictures.load(image, pictures.thumbnail(one, 'raw', side));
        return image;
      };
      const boxes = found.map(({ row: one }) => h('label.similar', { title: result.names[one] },
        h('input', { type: 'checkbox', value: one, 'aria-label': t('similar.item', { name: result.names[one], cluster: session.curation.name(session.curation.place[one]) }) }), picture(one, 84),
        h('span', null, session.curation.name(session.curation.place[one]))));
      fill(body, h('div.similar-head', null, picture(row, 110), h('p.hint', null, t('similar.hint'))), h('div.similars', null, boxes));
      const take = (all) => {
        const rows = boxes.map((box) => box.firstElementChild).filter((input) => all || input.checked).map((input) => Number(input.value));
        if (rows.length) {
          view.selection.add(rows);
          close(rows);
        }
      };
      return { footer: [h('button', { type: 'button', onclick: () => take(true) }, t('similar.all')), h('button.primary', { type: 'button', onclick: () => take(false) }, icon('check', 16), t('similar.take'))] };
    },
  });
}
