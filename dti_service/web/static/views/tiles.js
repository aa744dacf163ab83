// The cluster view: prototypes beside their members. Only what is in sight is in the document.

import { disposer, fill, h, uid } from '../lib/dom.js';
import { icon } from '../lib/icons.js';
import { keepPlace, layout, prototypeSize, sectionsWithin, tilePlace, tilesWithin } from '../logic/layout.js';
import { median } from '../logic/order.js';
import { STATES, UNSORTED } from '../logic/curation.js';

const AHEAD = 420; // pixels beyond the edges that are drawn ahead of scrolling

export class ClusterView {
  /**
   * `element` becomes the scrolling view. Options: ui, session, arrangement, selection, pictures, settings (store of
   * {mode, pictures, tile, captions}), actions (what the buttons do), only (ids of the clusters to show, for a view
   * beside the main one), first (draw only what is in sight until `drawAhead()`), onScroll(top), label.
   */
  constructor(element, options) {
    Object.assign(this, options);
    this.element = element;
    this.ends = disposer();
    this.sections = new Map(); // cluster id -> SectionView
    this.pool = [];
    this.focusRow = null;
    this.lastSection = null; // where the user did something last: what must not move
    this.over = this.first ? 0 : AHEAD;
    element.classList.add('cluster-view');
    element.dataset.tabStop = '';
    this.canvas = h('div.cluster-canvas');
    this.emptyNote = h('div');
    fill(element, this.canvas, this.emptyNote);

    this.frame = 0; // of a scroll that is not drawn yet
    this.ends.listen(element, 'scroll', () => {
      this.frame ||= requestAnimationFrame(() => {
        this.frame = 0;
        this.onScroll?.(element.scrollTop); // before anything is drawn: what it measures is still known
        this.drawAhead();
      });
    }, { passive: true });
    this.width = 0;
    this.observer = new ResizeObserver(() => {
      if (element.clientWidth !== this.outer) this.relayout();
      else this.draw();
    });
    this.observer.observe(element);
    this.ends.add(() => this.observer.disconnect());
    this.ends.add(this.selection.subscribe((rows) => this.paintSelection(rows)));
    this.ends.add(this.settings.subscribe((now, before) => {
      if (now.mode !== before.mode || now.tile !== before.tile || now.captions !== before.captions) this.relayout();
      else if (now.pictures !== before.pictures) this.refresh();
    }));
    this.ends.listen(element, 'click', (event) => this.onClick(event));
    this.ends.listen(element, 'dblclick', (event) => {
      const row = this.rowOf(event.target);
      if (row !== null) this.actions.openImage(row);
    });
    this.ends.listen(element, 'keydown', (event) => this.onKey(event));
    this.ends.listen(element, 'focusin', (event) => {
      const row = this.rowOf(event.target);
      const section = event.target.closest('[data-cluster]');
      if (section) this.lastSection = section.dataset.cluster;
      if (row !== null) this.setFocusRow(row);
    });
    this.ends.listen(element, 'pointerover', (event) => {
      const section = event.target.closest('[data-cluster]');
      if (section) this.lastSection = section.dataset.cluster;
    });
    this.relayout();
  }

  dispose() {
    this.ends.dispose();
    this.sections.clear();
    fill(this.element);
  }

  get curation() { return this.session.curation; }

  shown() {
    const sections = this.arrangement.sections();
    if (!this.only) return sections;
    const wanted = new Set(this.only);
    return sections.filter(({ id }) => wanted.has(id)).map((one) => ({ ...one, open: true }));
  }

  // -- layout and drawing --------------------------------------------------------------------------------------

  /** Place everything anew and keep on the screen what the user was at. */
  relayout({ keep = true } = {}) {
    const { mode, tile, captions } = this.settings.get();
    const before = this.layout;
    if (before) this.over = AHEAD;
    const style = getComputedStyle(this.element);
    this.outer = this.element.clientWidth;
    this.width = this.outer - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
    if (!(this.width > 0)) return;
    const next = layout({
      mode: this.only ? 'grid' : mode, width: this.width, tile, caption: captions === 'none' ? 0 : 18, clusters: this.shown(),
    });
    const top = this.element.scrollTop;
    let place = top;
    if (before && keep) {
      const inSight = sectionsWithin(before, top, top + this.element.clientHeight);
      const anchor = inSight.find(({ id }) => id === this.lastSection) ?? inSight[0];
      if (anchor) place = keepPlace(before, next, anchor.id, top);
    }
    this.layout = next;
    this.canvas.style.height = `${next.height + (this.only ? 8 : 48)}px`;
    if (place !== top) this.element.scrollTop = place;
    this.tileKey = `${tile}`;
    this.element.style.setProperty('--tile', `${tile}px`);
    const empty = next.sections.length === 0;
    fill(this.emptyNote, empty && !this.only ? this.nothing() : null);
    this.draw(true);
  }

  nothing() {
    const { t } = this.ui;
    return h('div.empty', null, h('h2', null, t('viewer.nothing')), h('p', null, t('viewer.nothing.hint')),
      this.ui.button(t('filter.clear'), { onclick: () => this.actions.clearFilter() }));
  }

  /** From now on also what a little scrolling brings into sight. */
  drawAhead() {
    this.over = AHEAD;
    this.draw();
  }

  /** Draw pictures and texts anew without moving anything. */
  refresh() {
    for (const view of this.sections.values()) view.stale = true;
    this.draw(true);
  }

  draw(force = false) {
    if (!this.layout) return;
    const [top, height] = [this.element.scrollTop, this.element.clientHeight];
    const bottom = top + height;
    this.drawn = { top, height };
    const wanted = sectionsWithin(this.layout, top - this.over, bottom + this.over);
    const keep = new Set(wanted.map(({ id }) => id));
    for (const [id, view] of this.sections) {
      if (keep.has(id)) continue;
      if (view.element.contains(document.activeElement) && this.layout.sections.some((one) => one.id === id)) continue;
      view.remove();
      this.sections.delete(id);
    }
    let before = null;
    for (const section of wanted) {
      let view = this.sections.get(section.id);
      if (!view) {
        view = new SectionView(this, section.id);
        this.sections.set(section.id, view);
        if (before) before.after(view.element);
        else this.canvas.prepend(view.element);
      }
      before = view.element;
      if (force || view.section !== section) view.place(section);
      view.draw(top - this.over, bottom + this.over);
    }
    this.updateTabStop();
  }

  paintSelection(rows) {
    for (const row of rows) {
      const tile = this.tileOf(row);
      if (!tile) continue;
      const chosen = this.selection.has(row);
      tile.setAttribute('aria-selected', String(chosen));
    }
    this.element.classList.toggle('selecting', this.selection.size > 0);
  }

  tileOf(row) {
    return this.sections.get(this.curation.place[row])?.tiles.get(row) ?? null;
  }

  rowOf(target) {
    const tile = target.closest?.('.tile');
    return tile ? Number(tile.dataset.row) : null;
  }

  /** What is in sight: {top, height}. Asked of the browser only where it is not known: that costs a layout. */
  sight() {
    return this.frame || !this.drawn ? { top: this.element.scrollTop, height: this.element.clientHeight } : this.drawn;
  }

  // -- places ----------------------------------------------------------------------------------------------------

  sectionOf(id) { return this.layout?.sections.find((section) => section.id === id) ?? null; }

  scrollToCluster(id, { flash = false } = {}) {
    const section = this.sectionOf(id);
    if (!section) return;
    this.lastSection = id;
    this.element.scrollTop = section.y;
    this.draw();
    const view = this.sections.get(id);
    if (flash && view) {
      view.element.classList.remove('flash');
      requestAnimationFrame(() => view.element.classList.add('flash'));
    }
    return view;
  }

  /** Bring an image into sight, opening its cluster when it is behind "+n". Gives its tile. */
  reveal(row) {
    const id = this.curation.place[row];
    const at = this.arrangement.list(id).indexOf(row);
    let section = this.sectionOf(id);
    if (!section || at < 0) return null;
    if (at >= section.shown) {
      this.arrangement.open.add(id);
      this.relayout();
      section = this.sectionOf(id);
    }
    const y = section.y + tilePlace(section, at).y;
    const { top, height } = this.sight();
    if (y < top) this.element.scrollTop = Math.max(0, y - 16);
    else if (y + section.stepY > top + height) this.element.scrollTop = y + section.stepY - height + 16;
    else if (this.tileOf(row)) return this.tileOf(row);
    this.draw();
    return this.tileOf(row);
  }

  focus(row) {
    const tile = this.reveal(row);
    if (!tile) return false;
    this.setFocusRow(row);
    if (document.activeElement !== tile) tile.focus({ preventScroll: true });
    return true;
  }

  // -- focus: one tab stop for all tiles, arrows inside ------------------------------------------------------------

  setFocusRow(row) {
    if (this.focusRow === row) return;
    const old = this.focusRow === null ? null : this.tileOf(this.focusRow);
    if (old) old.tabIndex = -1;
    this.focusRow = row;
    const tile = this.tileOf(row);
    if (tile) tile.tabIndex = 0;
  }

  updateTabStop() {
    const current = this.focusRow === null ? null : this.tileOf(this.focusRow);
    if (current) {
      if (current.tabIndex !== 0) current.tabIndex = 0; // to set it on what has the focus costs a layout
      if (this.stop && this.stop !== current) this.stop.tabIndex = -1;
      this.stop = current;
      return;
    }
    // The remembered image is out of sight: the first one in sight takes its place as the way in.
    const first = this.element.querySelector('.tile');
    if (this.stop && this.stop !== first) this.stop.tabIndex = -1;
    if (first) first.tabIndex = 0;
    this.stop = first;
  }

  onKey(event) {
    const row = this.rowOf(event.target);
    if (row === null || event.target.tagName === 'INPUT') return;
    const id = this.curation.place[row];
    const list = this.arrangement.list(id);
    const at = list.indexOf(row);
    const section = this.sectionOf(id);
    const { key } = event;
    let next = null;
    if (key === 'ArrowRight') next = this.arrangement.neighbour(row, 1);
    else if (key === 'ArrowLeft') next = this.arrangement.neighbour(row, -1);
    else if (key === 'ArrowDown') next = this.below(section, list, at, 1);
    else if (key === 'ArrowUp') next = this.below(section, list, at, -1);
    else if (key === 'Home') next = list[0];
    else if (key === 'End') next = list.at(-1);
    else if (key === 'PageDown' || key === 'PageUp') next = this.nextCluster(id, key === 'PageDown' ? 1 : -1);
    else if (key === ' ') {
      if (event.shiftKey) this.selection.extend(row, [...this.arrangement.rows()]);
      else this.selection.toggle(row);
      event.preventDefault();
      return;
    } else if (key === 'Enter') {
      this.actions.openImage(row);
      event.preventDefault();
      return;
    } else return;
    event.preventDefault();
    if (next === null || next === undefined) return;
    if (event.shiftKey) {
      if (this.selection.anchor === null) this.selection.toggle(row);
      this.selection.extend(next, [...this.arrangement.rows()]);
    }
    this.focus(next);
  }

  below(section, list, at, step) {
    const next = at + step * section.cols;
    if (next >= 0 && next < list.length && next < section.shown) return list[next];
    const ids = this.shown().map(({ id }) => id);
    let place = ids.indexOf(section.id) + step;
    while (place >= 0 && place < ids.length) {
      const other = this.arrangement.list(ids[place]);
      if (other.length) {
        const column = at % section.cols;
        const there = this.sectionOf(ids[place]);
        if (step > 0) return other[Math.min(column, there.shown - 1)];
        const lastLine = Math.floor((there.shown - 1) / there.cols) * there.cols;
        return other[Math.min(lastLine + column, there.shown - 1)];
      }
      place += step;
    }
    return null;
  }

  nextCluster(id, step) {
    const ids = this.shown().map((one) => one.id);
    let place = ids.indexOf(id) + step;
    while (place >= 0 && place < ids.length) {
      const list = this.arrangement.list(ids[place]);
      if (list.length) return list[0];
      place += step;
    }
    return null;
  }

  // -- pointer -----------------------------------------------------------------------------------------------------

  onClick(event) {
    if (this.swallowClick) {
      this.swallowClick = false;
      return;
    }
    const act = event.target.closest('[data-act]');
    const section = event.target.closest('[data-cluster]');
    const row = this.rowOf(event.target);
    if (row !== null) {
      this.setFocusRow(row);
      this.tileOf(row)?.focus({ preventScroll: true });
      if (act?.dataset.act === 'full') this.actions.openImage(row, { layout: 'single' });
      else if (event.shiftKey) this.selection.extend(row, [...this.arrangement.rows()]);
      else if (act?.dataset.act === 'check' || event.ctrlKey || event.metaKey || this.selection.size > 0) this.selection.toggle(row);
      else this.actions.openImage(row);
      return;
    }
    if (!act || !section) return;
    const id = section.dataset.cluster;
    this.lastSection = id;
    if (act.dataset.act === 'rename') this.sections.get(id).startRename();
    else if (act.dataset.act === 'toggle') this.toggleOpen(id);
    else this.actions.cluster(act.dataset.act, id, act);
  }

  toggleOpen(id) {
    const { open } = this.arrangement;
    const fold = open.has(id);
    if (!open.delete(id)) open.add(id);
    this.lastSection = id;
    this.relayout();
    if (fold) {
      const section = this.sectionOf(id);
      if (section && section.y < this.element.scrollTop) this.scrollToCluster(id);
    }
    this.ui.announce(this.ui.t(fold ? 'cluster.folded' : 'cluster.opened', { name: this.curation.name(id), n: this.arrangement.list(id).length }));
  }

  /** Edit the name of a cluster where it stands. */
  rename(id) {
    this.scrollToClusterIfHidden(id);
    this.sections.get(id)?.startRename();
  }

  scrollToClusterIfHidden(id) {
    const section = this.sectionOf(id);
    if (!section) return;
    const { scrollTop, clientHeight } = this.element;
    if (section.y < scrollTop || section.y + 60 > scrollTop + clientHeight) this.scrollToCluster(id);
  }
}

/** One cluster on the screen: its head, and those of its tiles that are in sight. */
class SectionView {
  constructor(view, id) {
    this.view = view;
    this.id = id;
    this.tiles = new Map(); // row -> tile
    const { t } = view.ui;
    const heading = uid('cluster');
    this.name = h('button.cluster-name', { type: 'button', dataset: { act: 'rename' }, title: t('rename.hint') });
    this.heading = h('h2', { id: heading }, this.name);
    this.picture = h('img', { alt: '', decoding: 'async', draggable: 'false' });
    this.prototype = h('button.prototype', { type: 'button', dataset: { act: 'prototype' } }, this.picture);
    this.facts = h('span.cluster-facts.num');
    this.state = h('button.cluster-state', { type: 'button', dataset: { act: 'state' }, 'aria-haspopup': 'menu' });
    this.notes = h('span.cluster-notes');
    this.fold = h('button.icon-button', { type: 'button', dataset: { act: 'toggle' } });
    const tool = (act, iconName, label) => h('button.icon-button', { type: 'button', dataset: { act }, title: label, 'aria-label': label }, icon(iconName, 16));
    this.tools = view.only
      ? h('div.cluster-tools', null, tool('unbeside', 'close', t('beside.close')))
      : h('div.cluster-tools', null, this.fold, tool('merge', 'merge', t('merge.action')),
        h('button.icon-button', { type: 'button', dataset: { act: 'menu' }, 'aria-haspopup': 'menu', 'aria-expanded': 'false', title: t('cluster.more'), 'aria-label': t('cluster.more') }, icon('menu', 16)));
    this.head = h('div.cluster-head', null, this.heading, this.prototype,
      h('div.cluster-line', null, this.facts, this.notes), h('div.cluster-foot', null, this.state, this.tools));
    this.grid = h('div.tiles', { role: 'listbox', 'aria-multiselectable': 'true', 'aria-labelledby': heading });
    this.more = h('button.more', { type: 'button', dataset: { act: 'toggle' }, hidden: true });
    this.element = h('section.cluster', { 'aria-labelledby': heading, dataset: { cluster: id, drop: id } }, this.head, this.grid, this.more);
    this.stale = true;
  }

  remove() {
    for (const tile of this.tiles.values()) this.view.pool.push(tile);
    this.tiles.clear();
    this.element.remove();
  }

  place(section) {
    this.section = section;
    const { style } = this.element;
    style.top = `${section.y}px`;
    style.left = `${section.x}px`;
    style.width = `${section.w}px`;
    style.height = `${section.h}px`;
    this.element.classList.toggle('open', section.open);
    this.element.classList.toggle('card', this.view.layout.mode === 'grid');
    const { narrow, size } = prototypeSize(this.view.width, this.view.layout.tile);
    this.element.classList.toggle('narrow', narrow && this.view.layout.mode === 'rows');
    this.prototypeSide = this.view.layout.mode === 'grid' ? 60 : size;
    this.element.style.setProperty('--proto', `${this.prototypeSide}px`);
    this.head.style.width = `${section.head.w}px`;
    this.drawHead();
    this.fresh = true;
  }

  drawHead() {
    const { view, id, section } = this;
    const { t, i18n } = view.ui;
    const { curation } = view;
    const cluster = curation.cluster(id);
    if (!cluster) return;
    const name = curation.name(id);
    if (!this.renaming) this.name.textContent = name;
    this.name.setAttribute('aria-label', t('rename.of', { name }));
    this.element.classList.toggle('unsorted', id === UNSORTED);
    const key = `${cluster.prototype}/${cluster.prototype === null ? cluster.members[0] : ''}/${this.prototypeSide}`;
    if (this.pictureKey !== key) {
      this.pictureKey = key;
      view.pictures.showPrototype(this.picture, cluster, this.prototypeSide);
    }
    this.prototype.setAttribute('aria-label', cluster.prototype === null ? t('prototype.none.of', { name }) : t('prototype.of', { name }));
    const list = view.arrangement.list(id);
    // Lists are replaced when they change, so a median holds for as long as its list and its prototype.
    if (this.medianOf?.list !== list || this.medianOf.prototype !== cluster.prototype) {
      this.medianOf = { list, prototype: cluster.prototype, value: median(list.map((row) => curation.distance(row))) };
    }
    const middle = this.medianOf.value;
    const partly = view.arrangement.filtered && list.length !== cluster.members.length;
    const count = partly ? t('n.of.short', { n: list.length, total: cluster.members.length }) : t('n.images', { n: list.length });
    this.facts.title = partly ? t('n.of', { n: list.length, total: cluster.members.length }) : '';
    fill(this.facts, count, Number.isFinite(middle) && this.view.layout.mode === 'rows'
      ? h('span.muted', { title: t('distance.median') }, ` · ${i18n.distance(middle)}`) : null);
    this.state.className = 'cluster-state state';
    this.state.dataset.state = cluster.state;
    this.state.textContent = t(`cluster.state.${cluster.state}`);
    this.state.setAttribute('aria-label', t('cluster.state.of', { state: t(`cluster.state.${cluster.state}`), name }));
    fill(this.notes, cluster.note && h('span', { title: cluster.note }, icon('note', 14), h('span.visually-hidden', null, cluster.note)),
      cluster.tags.map((tag) => h('span.chip', null, tag)));
    const foldable = section.open && !view.only;
    this.fold.hidden = !foldable;
    this.fold.setAttribute('aria-expanded', String(section.open));
    const label = section.open ? t('cluster.fold') : t('cluster.open');
    this.fold.setAttribute('aria-label', `${label}: ${name}`);
    this.fold.title = label;
    if (this.foldOpen !== section.open) {
      this.foldOpen = section.open;
      fill(this.fold, icon(section.open ? 'close' : 'down', 16));
    }
    const more = section.hidden > 0;
    this.more.hidden = !more;
    if (more) {
      this.more.textContent = `+${i18n.number(section.hidden)}`;
      this.more.setAttribute('aria-label', t('cluster.more.of', { n: section.hidden, name }));
      const { x, y } = tilePlace(section, section.shown);
      this.more.style.transform = `translate(${x}px, ${y}px)`;
    }
    this.grid.hidden = list.length === 0;
  }

  draw(top, bottom) {
    const { view, section } = this;
    const list = view.arrangement.list(this.id);
    const [first, end] = tilesWithin(section, top, bottom);
    const last = Math.min(end, section.shown);
    const wanted = new Set();
    for (let at = first; at < last; at += 1) wanted.add(list[at]);
    for (const [row, tile] of this.tiles) {
      if (wanted.has(row)) continue;
      if (tile === document.activeElement && view.curation.place[row] === this.id && list.includes(row)) continue;
      this.tiles.delete(row);
      tile.remove();
      view.pool.push(tile);
    }
    const mode = view.settings.get();
    let cursor = this.grid.firstElementChild;
    for (let at = first; at < last; at += 1) {
      const row = list[at];
      let tile = this.tiles.get(row);
      const old = Boolean(tile);
      if (!tile) {
        tile = view.pool.pop() ?? makeTile();
        this.tiles.set(row, tile);
      }
      if (!old || this.stale || this.fresh) bindTile(view, tile, row, mode, this.id);
      if (!old || this.fresh || tile.at !== at) {
        tile.at = at;
        const { x, y } = tilePlace(section, at);
        tile.style.transform = `translate(${x}px, ${y}px)`;
        tile.setAttribute('aria-posinset', at + 1);
        tile.setAttribute('aria-setsize', section.count);
      }
      if (tile === cursor) cursor = cursor.nextElementSibling;
      else this.grid.insertBefore(tile, cursor);
    }
    this.stale = false;
    this.fresh = false;
  }

  startRename() {
    if (this.renaming) return;
    const { view, id } = this;
    const { t } = view.ui;
    this.renaming = true;
    const input = h('input.rename', { type: 'text', value: view.curation.name(id), 'aria-label': t('rename.of', { name: view.curation.name(id) }), maxlength: 200 });
    const end = (save) => {
      if (!this.renaming) return;
      this.renaming = false;
      const text = input.value.trim();
      input.replaceWith(this.name);
      if (save && text) view.actions.rename(id, text);
      this.drawHead();
      this.name.focus({ preventScroll: true });
    };
    input.addEventListener('keydown', (event) => {
      if (event.key === 'Enter') end(true);
      else if (event.key === 'Escape') end(false);
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    input.addEventListener('blur', () => end(true));
    this.name.replaceWith(input);
    input.focus({ preventScroll: true });
    input.select();
  }
}

let pattern = null; // copies are made quicker than tiles

function makeTile() {
  pattern ??= drawTile();
  const tile = pattern.cloneNode(true);
  const [frame, , , marks, caption] = tile.children;
  [tile.image, tile.second, tile.note] = frame.children;
  return Object.assign(tile, { marks, caption });
}

function drawTile() {
  const image = h('img', { alt: '', decoding: 'async', draggable: 'false' });
  const second = h('img.second', { alt: '', decoding: 'async', draggable: 'false', hidden: true });
  return h('div.tile', { role: 'option', tabindex: -1, 'aria-selected': 'false' },
    h('span.frame', null, image, second, h('span.missing-note')),
    h('span.check', { dataset: { act: 'check' }, 'aria-hidden': 'true' }, icon('check', 14)),
    h('span.full', { dataset: { act: 'full' }, 'aria-hidden': 'true' }, icon('expand', 14)),
    h('span.marks', { 'aria-hidden': 'true' }),
    h('span.caption.num'));
}

function bindTile(view, tile, row, { pictures: kind, captions, tile: side }, id) {
  const { t, i18n } = view.ui;
  const { curation, pictures } = view;
  const { result } = curation;
  tile.dataset.row = row;
  const stop = row === view.focusRow ? 0 : -1;
  if (tile.tabIndex !== stop) tile.tabIndex = stop;
  const name = result.names[row];
  const distance = curation.distance(row);
  // What the image's cluster stands for, as the model fits it; where there is no such thing, nothing is made up.
  const prototype = curation.cluster(id)?.prototype ?? null;
  const fitted = kind === 'raw' ? null : pictures.fitted(row, prototype, side);
  const show = kind === 'raw' || fitted ? kind : 'unknown';
  const key = `${row}/${show}/${kind === 'raw' ? '' : prototype}/${pictures.constructor.bucket(side)}`;
  if (tile.key !== key) {
    tile.key = key;
    tile.classList.toggle('difference', show === 'difference');
    tile.classList.toggle('unknown', show === 'unknown');
    tile.note.textContent = show === 'unknown' ? t('fitted.unknown') : '';
    pictures.load(tile.image, show === 'fitted' ? fitted : pictures.thumbnail(row, 'raw', side));
    tile.second.hidden = show !== 'difference';
    if (show === 'difference') pictures.load(tile.second, fitted);
  }
  tile.setAttribute('aria-selected', String(view.selection.has(row)));
  tile.setAttribute('aria-label', Number.isFinite(distance)
    ? t('tile.label', { name, distance: i18n.distance(distance) }) : t('tile.label.nodistance', { name }));
  tile.caption.textContent = caption(view, row, captions, distance);
  tile.title = [name, captions === 'distance' || captions === 'name' ? '' : tile.caption.textContent].filter(Boolean).join('\n');
  const image = curation.image(row);
  const marks = `${curation.moved(row) ? 'm' : ''}${image.note ? 'n' : ''}${image.tags.length ? 't' : ''}`;
  if (tile.marksKey !== marks) {
    tile.marksKey = marks;
    fill(tile.marks, curation.moved(row) && icon('move', 12), image.note && icon('note', 12), image.tags.length > 0 && icon('tag', 12));
  }
}

/** What stands below an image: `kind` is one of CAPTIONS, or a column of the run's table; a column that it lacks: the distance. */
function caption({ ui, session, arrangement }, row, kind, distance) {
  const { result } = session;
  if (kind === 'none') return '';
  if (kind === 'name') return result.names[row].slice(result.names[row].lastIndexOf('/') + 1);
  if (kind === 'source') {
    const { label, page } = result.others(row);
    return [arrangement.sourceOf?.(row), label || page].filter(Boolean).join(', ');
  }
  if (kind !== 'distance' && result.header.includes(kind)) return result.others(row)[kind] ?? '';
  return Number.isFinite(distance) ? ui.i18n.distance(distance) : '';
}

/** What can stand below images besides columns of the run's table. */
export const CAPTIONS = ['distance', 'name', 'source', 'none'];

export { STATES };
