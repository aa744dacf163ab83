// Dialogs in which clusters are chosen by their pictures: move to, merge with, split.

import { fill, h } from '../lib/dom.js';
import { icon } from '../lib/icons.js';
import { fold, proposeSplit } from '../logic/order.js';
import { UNSORTED } from '../logic/curation.js';

const SAMPLES = 5;

/** Mean distance of images to the prototype of each cluster: near ones are proposed first. */
function nearestFirst(curation, rows, ids) {
  const sample = rows.length > 200 ? rows.filter((_, at) => at % Math.ceil(rows.length / 200) === 0) : rows;
  const mean = new Map(ids.map((id) => {
    const { prototype } = curation.cluster(id);
    const known = sample.map((row) => curation.result.to(row, prototype)).filter(Number.isFinite);
    return [id, known.length ? known.reduce((a, b) => a + b, 0) / known.length : Infinity];
  }));
  return [...ids].sort((a, b) => mean.get(a) - mean.get(b)).map((id) => ({ id, distance: mean.get(id) }));
}

/** A picture card of a cluster, to click. */
function clusterCard({ ui, curation, pictures }, id, { distance = NaN, onclick }) {
  const cluster = curation.cluster(id);
  const name = curation.name(id);
  return h('button.choice', { type: 'button', dataset: { name: fold(name), cluster: id }, onclick },
    h('span.choice-top', null, pictures.prototypeImage(cluster, 76),
      h('span.choice-samples', null, cluster.members.slice(0, SAMPLES).map((row) => {
        const image = h('img', { alt: '', decoding: 'async', loading: 'lazy' });
        pictures.load(image, pictures.thumbnail(row, 'raw', 36));
        return image;
      }))),
    h('span.choice-name', null, name),
    h('span.muted.num', null, ui.t('n.images', { n: cluster.members.length }),
      Number.isFinite(distance) ? ` · ${ui.t('distance.short', { distance: ui.i18n.distance(distance) })}` : ''));
}

function arrowKeys(grid) {
  grid.addEventListener('keydown', (event) => {
    const cards = [...grid.querySelectorAll('.choice:not([hidden])')];
    const at = cards.indexOf(document.activeElement);
    if (at < 0) return;
    const top = cards[0].offsetTop;
    const columns = Math.max(1, cards.findIndex((card) => card.offsetTop > top) === -1 ? cards.length : cards.findIndex((card) => card.offsetTop > top));
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[event.key];
    if (!step) return;
    event.preventDefault();
    cards[Math.max(0, Math.min(cards.length - 1, at + step))].focus();
  });
}

/**
 * Choose a cluster by its pictures. Gives its id, "+new", UNSORTED, or undefined. `rows`: images that the choice is
 * for; clusters near to them come first.
 */
export function chooseCluster(view, { title, rows, without = [], extra = true }) {
  const { ui, session } = view;
  const { curation } = session;
  const { t } = ui;
  return ui.dialog({
    title,
    className: 'wide',
    build: (body, close) => {
      const ids = curation.order.filter((id) => !without.includes(id) && id !== UNSORTED);
      const cards = nearestFirst(curation, rows, ids).map(({ id, distance }) =>
        clusterCard({ ui, curation, pictures: view.pictures }, id, { distance, onclick: () => close(id) }));
      const search = h('input', { type: 'search', placeholder: t('choose.search'), 'aria-label': t('choose.search') });
      const grid = h('div.choices', null,
        extra && h('button.choice.special', { type: 'button', dataset: { name: '' }, onclick: () => close('+new') }, icon('add', 28), h('span.choice-name', null, t('cluster.new'))),
        extra && !without.includes(UNSORTED) && h('button.choice.special', { type: 'button', dataset: { name: '' }, onclick: () => close(UNSORTED) }, icon('tray', 28), h('span.choice-name', null, t('unsorted'))),
        cards);
      search.addEventListener('input', () => {
        const words = fold(search.value.trim());
        for (const card of grid.children) card.hidden = Boolean(words) && !card.dataset.name.includes(words);
      });
      search.addEventListener('keydown', (event) => {
        const first = grid.querySelector('.choice:not([hidden])');
        if (!first) return;
        if (event.key === 'Enter') first.click();
        else if (event.key === 'ArrowDown') first.focus();
        else return;
        event.preventDefault();
      });
      arrowKeys(grid);
      fill(body, h('div.choose-head', null, search, h('span.muted', null, t('choose.nearest'))), grid);
      return { ready: () => (cards[0] ?? grid.querySelector('.choice')).focus() };
    },
  });
}

/** Merge: choose the other one, see both in full, choose which name and prototype live on. */
export async function mergeDialog(view, id) {
  const { ui, session, pictures } = view;
  const { t, i18n } = ui;
  const { curation } = session;
  const other = await chooseCluster(view, {
    title: t('merge.with', { name: curation.name(id) }), rows: curation.members(id), without: [id], extra: false,
  });
  if (!other) return null;
  const both = [id, other];
  let survivor = curation.members(other).length > curation.members(id).length ? other : id;
  const chosen = await ui.dialog({
    title: t('merge.title'),
    className: 'wide',
    build: (body, close) => {
      const name = h('input', { type: 'text', value: curation.name(survivor), maxlength: 200, id: 'merge-name' });
      const side = (one) => {
        const cluster = curation.cluster(one);
        const members = view.arrangement.list(one);
        return h('label.merge-side', null,
          h('span.merge-head', null,
            h('input', { type: 'radio', name: 'survivor', value: one, checked: one === survivor, onchange: () => {
              if (name.value === curation.name(survivor)) name.value = curation.name(one);
              survivor = one;
            } }),
            h('strong', null, curation.name(one)), h('span.muted.num', null, t('n.images', { n: cluster.members.length }))),
          h('span.merge-body', null, pictures.prototypeImage(cluster, 150),
            h('span.merge-members', null, members.slice(0, 60).map((row) => {
              const image = h('img', { alt: '', decoding: 'async', loading: 'lazy' });
              pictures.load(image, pictures.thumbnail(row, 'raw', 52));
              return image;
            }), members.length > 60 && h('span.muted', null, `+${i18n.number(members.length - 60)}`))),
          h('span.muted', null, t('merge.keeps')));
      };
      fill(body, h('p.hint', null, t('merge.hint')), h('fieldset.merge-sides', null, h('legend.visually-hidden', null, t('merge.survivor')), both.map(side)),
        h('label.field', { for: 'merge-name' }, t('merge.name')), name);
      const go = h('button.primary', { type: 'button', onclick: () => close({ name: name.value.trim() }) }, icon('merge', 16), t('merge.do'));
      return { footer: [h('button', { type: 'button', onclick: () => close() }, t('cancel')), go], ready: () => go.focus() };
    },
  });
  if (!chosen) return null;
  const from = both.find((one) => one !== survivor);
  return { from, into: survivor, name: chosen.name || curation.name(survivor) };
}

/** "Make two of these": a proposal, in which a click moves an image to the other side. */
export async function splitDialog(view, id, chosenRows = []) {
  const { ui, session, pictures } = view;
  const { t } = ui;
  const { curation } = session;
  const members = view.curation.members(id);
  const proposed = chosenRows.length ? chosenRows : proposeSplit(curation.result, members);
  const second = new Set(proposed);
  return ui.dialog({
    title: t('split.title', { name: curation.name(id) }),
    className: 'wide',
    build: (body, close) => {
      const name = h('input', { type: 'text', id: 'split-name', maxlength: 200, value: t('split.name', { name: curation.name(id) }) });
      const boxes = [h('div.split-box', { role: 'group', 'aria-label': t('split.stays') }), h('div.split-box', { role: 'group', 'aria-label': t('split.goes') })];
      const counts = [h('h3.num'), h('h3.num')];
      const go = h('button.primary', { type: 'button', onclick: () => close({ rows: members.filter((row) => second.has(row)), name: name.value.trim() || t('cluster.new') }) },
        icon('split', 16), t('split.do'));
      const buttons = new Map();
      const put = (row) => boxes[second.has(row) ? 1 : 0].append(buttons.get(row));
      const count = () => {
        const n = second.size;
        counts[0].textContent = `${t('split.stays')} · ${t('n.images', { n: members.length - n })}`;
        counts[1].textContent = `${t('split.goes')} · ${t('n.images', { n })}`;
        go.disabled = n === 0 || n === members.length;
      };
      for (const row of view.arrangement.list(id)) {
        const image = h('img', { alt: curation.result.names[row], decoding: 'async', loading: 'lazy' });
        pictures.load(image, pictures.thumbnail(row, 'raw', 64));
        buttons.set(row, h('button.split-image', { type: 'button', title: curation.result.names[row], onclick: () => {
          if (!second.delete(row)) second.add(row);
          put(row);
          buttons.get(row).focus();
          count();
        } }, image));
        put(row);
      }
      count();
      fill(body, h('p.hint', null, t(chosenRows.length ? 'split.hint.chosen' : proposed.length ? 'split.hint' : 'split.hint.none')),
        h('div.split-sides', null, h('div', null, counts[0], boxes[0]), h('div', null, counts[1], boxes[1])),
        h('label.field', { for: 'split-name' }, t('split.newname')), name);
      return { footer: [h('button', { type: 'button', onclick: () => close() }, t('cancel')), go], ready: () => go.focus() };
    },
  });
}
