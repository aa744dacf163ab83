// Runs side by side: which cluster became which, how images moved, and their figures.

import { ExperimentSource } from '../lib/api.js';
import { disposer, fill, h, s } from '../lib/dom.js';
import { icon } from '../lib/icons.js';
import { Pictures } from '../lib/pictures.js';
import { formatHash } from '../lib/router.js';
import { Curation, UNSORTED } from '../logic/curation.js';
import { compareGroupings, flowLayout, ribbonPath } from '../logic/matching.js';
import { Result } from '../logic/table.js';
import { clusterCount, elapsed, isActive, isOver, progressBar } from './facts.js';

const KNOWN = 100; // finished runs offered to choose from
const SHOWN = 60; // images shown of one move
const STRIP = 24; // prototypes shown of each run of a group
const POLL = 3000;
const RAW = '';
const [BAR, PICTURE, WIDTH] = [10, 34, 760];

export function mount(element, context, route) {
  return new Comparison(element, context, route);
}

/** "id" or "id/reading" of an address, as {id, reading}. */
export function sideOf(text) {
  const [id = '', reading = RAW] = String(text ?? '').split('/');
  return { id, reading };
}

const textOf = ({ id, reading }) => (reading ? `${id}/${reading}` : id);

class Comparison {
  constructor(element, context, route) {
    Object.assign(this, context);
    this.element = element;
    this.ends = disposer();
    this.loaded = new Map(); // "id/reading" -> promise of a side
    this.records = new Map();
    this.title(this.t('versus.title'));
    fill(element, h('div.page.versus', null, h('h1', null, this.t('versus.title')), h('div.skeleton.block')));
    this.begin(route);
    this.ends.interval(() => this.groupBox && this.look(), POLL);
  }

  dispose() {
    this.gone = true;
    this.ends.dispose();
  }

  update(route) {
    if (this.sides && (route.query.ids ?? '') === this.group.join(',') && textOf(this.sides[0]) === (route.query.a ?? '') && textOf(this.sides[1]) === (route.query.b ?? '')) return true;
    this.begin(route);
    return true;
  }

  async begin({ query }) {
    const { t, api } = this;
    try {
      const wanted = String(query.ids ?? '').split(',').filter(Boolean);
      const past = await api.experiments({ state: 'succeeded', limit: KNOWN, sort: '-created_at' });
      for (const record of past.items) this.records.set(record.id, record);
      const sides = [sideOf(query.a), sideOf(query.b)];
      for (const id of new Set([...wanted, ...sides.map((side) => side.id)])) {
        if (id && !this.records.has(id)) await api.experiment(id).then((record) => this.records.set(id, record)).catch(() => {});
      }
      if (this.gone) return;
      this.group = wanted;
      this.sides = sides;
      if (wanted.length) this.sides = this.firstTwo();
      this.build();
      await this.show();
    } catch (error) {
      if (!this.gone) this.failed(error, () => this.begin({ query }));
    }
  }

  failed(error, again) {
    const { t } = this;
    fill(this.element, h('div.empty', null, icon('warning', 34), h('h1', null, t('error.load')), h('p', null, error.status === 0 ? t('error.offline') : error.message), this.ui.button(t('retry'), { onclick: again })));
  }

  // -- the frame ---------------------------------------------------------------------------------------------------

  build() {
    const { t, ui } = this;
    this.found = h('div.versus-found', { role: 'region', 'aria-live': 'polite', 'aria-label': t('compare.found') });
    this.choosers = this.sides.map((side, at) => this.chooser(side, at));
    this.groupBox = h('div');
    fill(this.groupBox, this.groupTable());
    fill(this.element, h('div.page.versus', null,
      h('h1', null, t('versus.title')), this.groupBox,
      h('div.panel.versus-sides', null, this.choosers[0].element,
        ui.iconButton(t('versus.swap'), 'compare', () => this.choose([...this.sides].reverse())), this.choosers[1].element),
      this.found));
  }

  /** Which run, and which reading of it. */
  chooser(side, at) {
    const { t } = this;
    const label = t(at ? 'versus.with' : 'versus.from');
    const options = [...this.records.values()].map((record) => h('option', { value: record.id, selected: record.id === side.id }, runLabel(record, this)));
    const run = h('select', { id: `versus-run-${at}`, onchange: () => this.choose(this.sides.map((one, index) => (index === at ? { id: run.value, reading: RAW } : one))) },
      h('option', { value: '' }, t('versus.choose')), options);
    const reading = h('select', { id: `versus-reading-${at}`, onchange: () => this.choose(this.sides.map((one, index) => (index === at ? { id: side.id, reading: reading.value } : one))) },
      h('option', { value: RAW }, t('variant.raw')));
    if (side.id) {
      new ExperimentSource(this.api, side.id).curations().then((items) => {
        for (const item of items) reading.append(h('option', { value: item.name, selected: item.name === side.reading }, item.title || item.name));
      }).catch(() => {});
    }
    return { element: h('div.versus-side', null, h('label.field', { for: run.id }, label), run, h('label.field', { for: reading.id }, t('versus.reading')), reading) };
  }

  choose(sides) {
    this.sides = sides;
    this.router.replace(['compare'], { a: textOf(sides[0]), b: textOf(sides[1]), ids: this.group.join(',') });
    const held = document.activeElement?.closest?.('.versus') ? document.activeElement : null;
    this.build();
    if (held?.id) document.getElementById(held.id)?.focus({ preventScroll: true });
    else if (held?.name) this.groupBox.querySelector(`[name="${held.name}"]:checked`)?.focus({ preventScroll: true });
    this.show().catch((error) => this.ui.failure(error));
  }

  /** The runs of a sweep with their prototypes and figures, the two to compare chosen among them. */
  groupTable() {
    const { t, i18n } = this;
    const records = this.group.map((id) => this.records.get(id)).filter(Boolean);
    if (records.length < 2) return null;
    const names = ['loss', 'accuracy', 'nmi', 'ari', 'used_clusters'].filter((name) => records.some((record) => Number.isFinite(record.metrics?.[name]) && (name !== 'used_clusters' || record.metrics[name] !== clusterCount(record))));
    const value = (record, name) => (name === 'accuracy' ? i18n.percent(record.metrics?.[name]) : i18n.number(record.metrics?.[name], 3));
    const pick = (record, at) => h('input', { type: 'radio', name: `versus-pick-${at}`, value: record.id, checked: this.sides[at].id === record.id, disabled: record.state !== 'succeeded', 'aria-label': t(at ? 'versus.pick.b' : 'versus.pick.a', { name: record.name }),
      onchange: () => this.choose(this.sides.map((one, index) => (index === at ? { id: record.id, reading: RAW } : one))) });
    const done = records.filter((record) => isOver(record)).length;
    return h('section.panel', { 'aria-label': t('versus.group') },
      done < records.length && h('p.hint', { role: 'status' }, t('versus.waiting', { done, n: records.length })),
      h('div.table-scroll', { tabindex: 0, role: 'region', 'aria-label': t('versus.group') }, h('table.cross.versus-group', null,
        h('thead', null, h('tr', null, [t('versus.from'), t('versus.with'), t('name'), t('clusters'), t('versus.prototypes'), t('experiments.filter'), ...names.map((name) => t(`metric.${name}`)), t('about.duration')].map((text) => h('th', { scope: 'col' }, text)))),
        h('tbody', null, records.map((record) => h('tr', null, h('td', null, pick(record, 0)), h('td', null, pick(record, 1)),
          h('th', { scope: 'row' }, h('a', { href: formatHash(['e', record.id]) }, record.name || t('unnamed'))), h('td.num', null, clusterCount(record) ?? '–'), h('td', null, this.prototypes(record)),
          h('td.versus-state', null, h('span.state', { dataset: { state: record.state } }, t(`state.${record.state}`)), ['running', 'cancelling'].includes(record.state) && progressBar(record, i18n)),
          names.map((name) => h('td.num', null, Number.isFinite(record.metrics?.[name]) ? value(record, name) : '–')), h('td.num', null, i18n.duration(record.metrics?.duration_s ?? elapsed(record)))))))));
  }

  prototypes(record) {
    const k = record.state === 'succeeded' ? clusterCount(record) ?? 0 : 0;
    const source = new ExperimentSource(this.api, record.id);
    return h('div.versus-prototypes', { 'aria-hidden': 'true' }, Array.from({ length: Math.min(k, STRIP) }, (_, at) => h('img', { alt: '', loading: 'lazy', decoding: 'async', src: source.thumbnail(`results/prototypes/prototype${at}.png`, 64), onerror: (event) => event.target.remove() })),
      k > STRIP && h('span.muted', null, this.t('versus.more', { n: k - STRIP })));
  }

  drawGroup() {
    const held = this.groupBox.contains(document.activeElement) ? document.activeElement : null;
    fill(this.groupBox, this.groupTable());
    if (held?.name) this.groupBox.querySelector(`[name="${held.name}"][value="${held.value}"]`)?.focus({ preventScroll: true });
    else if (held?.href) [...this.groupBox.querySelectorAll('a')].find((link) => link.href === held.href)?.focus({ preventScroll: true });
  }

  /** Runs of the group that have not ended are looked at again; as they end, the first two are compared. */
  async look() {
    const waiting = this.group.map((id) => this.records.get(id)).filter((record) => record && isActive(record));
    if (this.looking || document.hidden || !waiting.length) return;
    this.looking = true;
    try {
      for (const { id } of waiting) this.records.set(id, await this.api.experiment(id));
      if (this.gone) return;
      this.drawGroup();
      if (!this.sides.every(({ id }) => id) && this.ended().length > 1) this.choose(this.firstTwo());
    } catch {
      // The next look tries again.
    } finally {
      this.looking = false;
    }
  }

  ended() { return this.group.filter((id) => this.records.get(id)?.state === 'succeeded'); }

  /** What is not chosen yet is filled with runs of the group that have ended. */
  firstTwo() {
    const free = this.ended().filter((id) => !this.sides.some((side) => side.id === id));
    return this.sides.map((side) => (side.id ? side : { id: free.shift() ?? '', reading: RAW }));
  }

  // -- what differs --------------------------------------------------------------------------------------------------

  /** A grouping with what is needed to show it: {clusters: [{id, name, cluster}], place, pictures, row, record}. */
  load(side) {
    const key = textOf(side);
    if (!this.loaded.has(key)) {
      const promise = this.read(side);
      promise.catch(() => this.loaded.delete(key));
      this.loaded.set(key, promise);
    }
    return this.loaded.get(key);
  }

  async read({ id, reading }) {
    const { t } = this;
    const source = new ExperimentSource(this.api, id);
    const [members, document] = await Promise.all([source.members(), reading ? source.curation(reading).then((one) => one.document) : null]);
    if (members === null) throw new Error(t('versus.noresult', { name: this.records.get(id)?.name ?? id }));
    const record = this.records.get(id) ?? (await source.record());
    const result = Result.of(members, { k: record.metrics?.n_prototypes ?? 0 });
    const nameOf = (k) => (k === UNSORTED ? t('unsorted') : t('cluster.n', { k: String(k) }));
    const curation = new Curation(result, document, { nameOf });
    const at = new Map(curation.order.map((one, index) => [one, index]));
    const place = new Map();
    const row = new Map();
    for (let r = 0; r < result.n; r += 1) {
      place.set(result.names[r], at.get(curation.place[r]));
      row.set(result.names[r], r);
    }
    return { record, curation, place, row, pictures: new Pictures(source, result), clusters: curation.order.map((one) => ({ id: one, name: curation.name(one), cluster: curation.cluster(one) })) };
  }

  async show() {
    const { t, found } = this;
    const [a, b] = this.sides;
    if (!a.id || !b.id) {
      fill(found, !this.group.length && h('div.empty', null, icon('compare', 34), h('p', null, t('versus.none'))));
      return;
    }
    fill(found, h('div.skeleton.block'));
    const mine = textOf(a) + textOf(b);
    this.showing = mine;
    let sides;
    try {
      sides = await Promise.all([this.load(a), this.load(b)]);
    } catch (error) {
      if (!this.gone && this.showing === mine) fill(found, h('div.notice.bad', { role: 'alert' }, icon('warning'), h('p', null, error.status === 404 ? t('versus.gone') : error.status === 0 ? t('error.offline') : error.message)));
      return;
    }
    if (this.gone || this.showing !== mine) return;
    const compared = compareGroupings(sides[0], sides[1]);
    if (!compared.shared.length) {
      fill(found, h('div.empty', null, icon('warning', 34), h('p', null, t('versus.disjoint'))));
      return;
    }
    this.detail = h('div.versus-detail', { role: 'region', 'aria-label': t('versus.images'), tabindex: -1 });
    fill(found, this.summary(sides, compared), this.flow(sides, compared), this.detail, this.pairs(sides, compared), this.moves(sides, compared));
    const largest = compared.moves[0];
    if (largest) this.openMove(sides, largest.a, largest.b, compared, { quiet: true });
  }

  summary(sides, { shared, onlyA, onlyB, kept, agree, ari }) {
    const { t, i18n } = this;
    const [a, b] = sides.map(({ record }) => record.name || t('unnamed'));
    const facts = [
      [t('versus.shared'), i18n.number(shared.length)], [t('versus.kept'), `${i18n.number(kept)} (${i18n.percent(agree)})`], [t('versus.moved'), i18n.number(shared.length - kept)], [t('metric.ari'), i18n.number(ari, 3)],
      onlyA.length && [t('versus.only', { name: a }), i18n.number(onlyA.length)], onlyB.length && [t('versus.only', { name: b }), i18n.number(onlyB.length)],
    ].filter(Boolean);
    return h('dl.versus-facts', null, facts.map(([label, value]) => h('div', null, h('dt', null, label), h('dd.num', null, value))));
  }

  /** The flow picture: clusters of the one run at the left, of the other at the right, a ribbon for each group of images. */
  flow(sides, compared) {
    const { t } = this;
    const { left, right, ribbons, height } = flowLayout(compared);
    const name = (at, side) => sides[side].clusters[at].name;
    const [x0, x1] = [220, WIDTH - 220];
    const describe = ({ a, b, n }) => t('versus.ribbon', { n, from: name(a, 0), to: name(b, 1) });
    const open = (ribbon) => this.openMove(sides, ribbon.a, ribbon.b, compared);
    const band = (ribbon) => s('path', {
      d: ribbonPath(ribbon, x0 + BAR, x1 - BAR), class: ribbon.matched ? 'ribbon matched' : 'ribbon', tabindex: 0, role: 'button', 'aria-label': describe(ribbon), onclick: () => open(ribbon),
      onkeydown: (event) => {
        if (event.key !== 'Enter' && event.key !== ' ') return;
        event.preventDefault();
        open(ribbon);
      } }, s('title', null, describe(ribbon)));
    const end = ({ at, y, size }, side) => {
      const { cluster, name: label } = sides[side].clusters[at];
      const n = (side ? compared.sizesB : compared.sizesA)[at];
      const x = side ? x1 : x0;
      const middle = y + size / 2;
      const picture = side ? x + BAR - 10 + 8 : x - 8 - PICTURE;
      const text = side ? picture + PICTURE + 8 : picture - 8;
      const image = s('image', { x: picture, y: middle - Math.min(PICTURE, Math.max(size, 14)) / 2, width: PICTURE, height: Math.min(PICTURE, Math.max(size, 14)), 'aria-hidden': 'true' });
      const address = cluster.prototype !== null ? sides[side].pictures.prototypeThumbnail(cluster.prototype, PICTURE) : cluster.members.length ? sides[side].pictures.thumbnail(cluster.members[0], 'raw', PICTURE) : null;
      if (address) image.setAttribute('href', address);
      return s('g', { class: 'flow-end' }, s('rect', { x: side ? x - BAR : x, y, width: BAR, height: size, rx: 2 }), image,
        s('text', { x: text, y: middle + 4, 'text-anchor': side ? 'start' : 'end' }, `${short(label)} · ${this.i18n.number(n)}`, s('title', null, label)));
    };
    const titles = h('div.flow-heads', null, sides.map(({ record, curation }) => h('h3', null, record.name || t('unnamed'), curation.meta.title ? h('span.muted', null, ` · ${curation.meta.title}`) : null)));
    const svg = s('svg', { viewBox: `0 0 ${WIDTH} ${Math.ceil(height)}`, class: 'flow', role: 'group', 'aria-label': t('versus.flow') },
      [...ribbons].sort((x, y) => Number(x.matched) - Number(y.matched) || x.a - y.a).map(band), left.map((place) => end(place, 0)), right.map((place) => end(place, 1)));
    return h('section.panel', null, h('h2', null, t('versus.flow')), h('p.hint', null, t('versus.flow.hint')), titles, svg);
  }

  /** The images that went from one cluster to another. */
  openMove(sides, a, b, compared, { quiet = false } = {}) {
    const { t, i18n, detail } = this;
    const names = compared.shared.filter((name) => sides[0].place.get(name) === a && sides[1].place.get(name) === b);
    const [from, to] = [sides[0].clusters[a], sides[1].clusters[b]];
    fill(detail, h('section.panel.compare-move', null,
      h('h2', null, sides[0].pictures.prototypeImage(from.cluster, 40), h('span', null, from.name), h('span.muted', { 'aria-label': t('compare.to') }, '→'), sides[1].pictures.prototypeImage(to.cluster, 40), h('span', null, to.name), h('span.muted.num', null, t('n.images', { n: names.length }))),
      this.images(sides[1], names, compared.match[a] === b ? null : sides)));
    if (quiet) return;
    detail.focus({ preventScroll: true });
    detail.scrollIntoView({ block: 'nearest' });
    this.ui.announce(`${from.name} → ${to.name}: ${t('n.images', { n: i18n.number(names.length) })}`);
  }

  images({ pictures, row, record }, names) {
    const { i18n } = this;
    return h('div.compare-images', null, names.slice(0, SHOWN).map((name) => {
      const at = row.get(name);
      const image = h('img', { alt: name, title: name, loading: 'lazy', decoding: 'async' });
      pictures.load(image, pictures.thumbnail(at, 'raw', 56));
      return h('a', { href: formatHash(['e', record.id, 'i', String(pictures.result.ids[at])]) }, image);
    }), names.length > SHOWN && h('span.muted.num', null, `+${i18n.number(names.length - SHOWN)}`));
  }

  pairs(sides, { pairs, sizesA, sizesB }) {
    const { t, i18n } = this;
    const cell = (at, side) => {
      if (at < 0) return h('td.muted', { colspan: 1 }, t('versus.nomatch'));
      const { cluster, name } = sides[side].clusters[at];
      return h('td', null, h('span.versus-cluster', null, sides[side].pictures.prototypeImage(cluster, 44), h('span', null, name), h('span.muted.num', null, i18n.number((side ? sizesB : sizesA)[at]))));
    };
    const known = pairs.filter(({ a, b }) => (a >= 0 && sizesA[a] > 0) || (b >= 0 && sizesB[b] > 0));
    return h('section.panel', null, h('h2', null, t('versus.pairs')), h('div.table-scroll', { tabindex: 0, role: 'region', 'aria-label': t('versus.pairs') }, h('table.cross.versus-pairs', null,
      h('thead', null, h('tr', null, sides.map(({ record }) => h('th', { scope: 'col' }, record.name || t('unnamed'))), h('th', { scope: 'col' }, t('versus.common')), h('th', { scope: 'col' }, t('versus.overlap')))),
      h('tbody', null, [...known].sort((x, y) => x.overlap - y.overlap).map(({ a, b, n, overlap }) => h('tr', null, cell(a, 0), cell(b, 1), h('td.num', null, i18n.number(n)), h('td.num', null, i18n.percent(overlap))))))));
  }

  moves(sides, compared) {
    const { t } = this;
    if (!compared.moves.length) return h('p', null, t('compare.same'));
    return h('section.panel', null, h('h2', null, t('versus.moves')), h('ul.versus-moves', null, compared.moves.map(({ a, b, names }) => h('li', null,
      h('button.link', { type: 'button', onclick: () => this.openMove(sides, a, b, compared) }, `${sides[0].clusters[a].name} → ${sides[1].clusters[b].name}`), h('span.muted.num', null, ` ${t('n.images', { n: names.length })}`)))));
  }
}

function runLabel(record, { t }) {
  const k = clusterCount(record);
  return [record.name || t('unnamed'), k !== null && t('n.clusters', { n: k })].filter(Boolean).join(' · ');
}

const short = (text) => (text.length > 20 ? `${text.slice(0, 19)}…` : text);
