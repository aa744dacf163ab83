// A finished run: its clusters to look at and to curate.

import { Distances } from '../lib/distances.js';
import { debounce, disposer, fill, h } from '../lib/dom.js';
import { installGestures } from '../lib/gestures.js';
import { icon } from '../lib/icons.js';
import { Pictures } from '../lib/pictures.js';
import { Session } from '../lib/session.js';
import { formatHash } from '../lib/router.js';
import { remembered } from '../lib/store.js';
import { Arrangement } from '../logic/arrangement.js';
import { STATES, UNSORTED } from '../logic/curation.js';
import { sectionsWithin, tilesInRect } from '../logic/layout.js';
import { CLUSTER_ORDERS, doubtfulQueue, facetsOf, IMAGE_ORDERS, isUnfit, outliers } from '../logic/order.js';
import { Selection } from '../logic/selection.js';
import { sourceColumn } from '../logic/table.js';
import { Dock } from './dock.js';
import { exportMenu } from './export.js';
import { beganFrom, learnMenu } from './learn.js';
import { Rail } from './rail.js';
import { CAPTIONS, ClusterView } from './tiles.js';
import { describe } from './words.js';

const MOST_BESIDE = 4;
const MOST_CAPTIONS = 12;
const LOOKED_AT = 500;
const PLAIN_COLUMN = /^(image_id|path|cluster_id|distance|crop|layers|fits|dist_cluster_\d+|matrix_.*)$/; // not for below an image

// What is not needed for the first pictures is fetched after them.
const later = {
  choose: () => import('./choose.js'),
  compare: () => import('./compare.js'),
  image: () => import('./image.js'),
  prototype: () => import('./prototype.js'),
  reading: () => import('./reading.js'),
  review: () => import('./review.js'),
  similar: () => import('./similar.js'),
  about: () => import('./about.js'),
};

/**
 * `element` is filled with the result. Options: ui, source (ExperimentSource), result (Result), record (the
 * experiment), variant {name, document, etag} to begin with or null, place {cluster, image}, author (promise),
 * onPlace({cluster, image, variant}, {push}) keeps the address, onRename(name), exports (false: no server behind).
 */
export class ResultView {
  constructor(element, options) {
    Object.assign(this, options);
    this.element = element;
    this.ends = disposer();
    const { t } = this.ui;
    this.settings = remembered('dti.viewer', { mode: 'rows', pictures: 'raw', tile: 88, captions: 'distance', clusterOrder: 'given' });
    this.session = new Session({
      result: this.result, source: this.source, nameOf: (k) => (k === UNSORTED ? t('unsorted') : t('cluster.n', { k: String(k) })),
      titleFor: (variants) => t('variant.default', { n: variants.length + 1 }),
    });
    // Where the server knows people only by a shared token, they say once who they are.
    this.person = remembered('dti.person', { name: '' });
    Promise.resolve(this.author).then((name) => this.session.signAs(name || this.person.get().name));
    this.pictures = new Pictures(this.source, this.result);
    this.pictures.originals = this.originals ?? null;
    this.selection = new Selection();
    this.tray = new Selection();
    this.trayStore = remembered(`dti.tray.${this.source.id}`, { ids: [] });
    this.tray.add(this.trayStore.get().ids.map((id) => this.result.row(id)).filter((row) => row !== undefined));
    this.sourceOf = sourceColumn(this.result);
    this.arrangement = this.makeArrangement({ order: 'best' });
    this.lasso = false;
    this.beside = [];
    this.build();
    this.wire();
    this.session.list().catch((error) => this.ui.failure(error));
    this.distances = new Distances(this.result, this.source);
    this.distances.ready.then(() => this.gone || this.measured());
    this.afterFirstPictures();
  }

  /** What the first pictures need not wait for comes when they are up. */
  async afterFirstPictures() {
    const images = [...this.mainElement.querySelectorAll('img[src]')];
    await Promise.all(images.map((image) => image.complete || new Promise((resolve) => {
      for (const type of ['load', 'error']) image.addEventListener(type, resolve, { once: true });
    })));
    const idle = globalThis.requestIdleCallback ?? ((fn) => setTimeout(fn, 200));
    idle(async () => {
      if (this.gone) return;
      this.view.drawAhead();
      for (const load of Object.values(later)) load().catch(() => {});
      await this.distances.quietly().catch(() => {}); // asked for again when somebody needs them
    });
  }

  /** The distances to all prototypes are there: images that were moved get theirs. */
  measured() {
    if (!this.curation.dirty) return;
    for (const view of [this.view, this.besideView]) {
      if (!view) continue;
      for (const section of view.sections.values()) section.medianOf = null;
      view.refresh();
    }
  }

  /** Wait for the distances to all prototypes; false when they could not be had, which is said. */
  async known() {
    if (this.result.whole) return true;
    this.ui.announce(this.ui.t('loading'));
    this.element.classList.add('waiting');
    try {
      await this.distances.all();
      return true;
    } catch (error) {
      this.ui.failure(error);
      return false;
    } finally {
      this.element.classList.remove('waiting');
    }
  }

  get curation() { return this.session.curation; }

  makeArrangement(change = {}) {
    const { compare } = this.ui.i18n;
    return new Arrangement(this.session.curation, {
      order: this.arrangement?.order ?? 'best', clusterOrder: this.settings.get().clusterOrder, filter: this.arrangement?.filter ?? {},
      compare, sourceOf: this.sourceOf, ...change,
    });
  }

  // -- building --------------------------------------------------------------------------------------------------

  build() {
    const { ui, element } = this;
    const { t } = ui;
    element.classList.add('result');
    this.titleBar = h('div.result-title');
    this.toolbar = h('div.result-tools', { role: 'toolbar', 'aria-label': t('tools') });
    this.railElement = h('nav.rail', { 'aria-label': t('rail') });
    this.mainElement = h('div', { role: 'region', 'aria-label': t('clusters') });
    this.besideElement = h('div.beside', { hidden: true, role: 'region', 'aria-label': t('beside') });
    this.dockElement = h('aside.dock', { hidden: true, 'aria-label': t('dock') });
    this.bar = h('div.selection-bar', { hidden: true, role: 'toolbar', 'aria-label': t('selection') });
    this.body = h('div.result-body', null, this.railElement, h('div.main-pane', null, this.mainElement, this.bar), this.besideElement, this.dockElement);
    fill(element, this.titleBar, this.toolbar, this.body);
    this.buildTitle();
    this.buildTools();
    this.actions = {
      openImage: (row, options) => this.openImage(row, options),
      rename: (id, name) => this.act((curation) => curation.rename(id, name), { quiet: true }),
      cluster: (act, id, button) => this.clusterAction(act, id, button),
      clearFilter: () => this.setFilter({ text: '', source: '', tag: '', only: '', cluster: '', facets: {} }),
    };
    this.view = new ClusterView(this.mainElement, this.viewOptions({ first: true, onScroll: (top) => this.markRail(top) }));
    this.rail = new Rail(this.railElement, this);
    this.dock = new Dock(this.dockElement, this);
  }

  viewOptions(extra = {}) {
    const { ui, session, selection, pictures, settings, actions } = this;
    return { ui, session, arrangement: this.arrangement, selection, pictures, settings, actions, ...extra };
  }

  buildTitle() {
    const { ui } = this;
    const { t } = ui;
    const name = h('button.result-name', { type: 'button', title: t('rename.hint'), onclick: () => this.renameExperiment(name) }, this.record?.name || t('unnamed'));
    this.nameButton = name;
    this.variantButton = h('button.variant', { type: 'button', 'aria-haspopup': 'menu', 'aria-expanded': 'false', onclick: () => ui.menu(this.variantButton, this.variantItems(), { label: t('variants') }) });
    this.saveState = h('span.save-state', { role: 'status' });
    this.undoButton = ui.iconButton(t('undo'), 'undo', () => this.undo(), { hint: 'Ctrl+Z' });
    this.redoButton = ui.iconButton(t('redo'), 'redo', () => this.redo(), { hint: 'Ctrl+Y' });
    this.checked = h('span.muted.num.checked-count');
    const dockButton = (tab, iconName) => ui.iconButton(t(`dock.${tab}`), iconName, () => this.toggleDock(tab), { 'aria-pressed': 'false', 'data-tab': tab });
    this.dockButtons = [dockButton('about', 'file'), dockButton('history', 'history'), dockButton('tray', 'tray')];
    fill(this.titleBar, h('a.icon-button.button', { href: '#/', 'aria-label': t('nav.experiments'), title: t('nav.experiments') }, icon('back')),
      h('h1', null, name), h('span.muted.num.result-facts', null, `${t('n.images', { n: this.result.n })} · ${t('n.clusters', { n: this.result.k })}`),
      this.unfitButton(), this.changedLink(), this.checked, h('span.spacer'), this.saveState, this.variantButton, this.undoButton, this.redoButton, ...this.dockButtons, this.go ? learnMenu(this) : null, exportMenu(this));
    this.paintTitle();
  }

  /** New images on a finished model: how many of them fit nowhere, and the way to see them. */
  unfitButton() {
    if (!this.result.header.includes('fits')) return null;
    const { t } = this.ui;
    let n = 0;
    for (let row = 0; row < this.result.n; row += 1) if (isUnfit(this.result, row)) n += 1;
    if (!n) return h('span.muted', null, t('unfit.none'));
    this.unfit = h('button.unfit', { type: 'button', 'aria-pressed': 'false', title: t('unfit.hint'), onclick: () => {
      const on = this.arrangement.filter.only !== 'unfit';
      if (on) this.setOrder('worst');
      this.setFilter({ only: on ? 'unfit' : '' });
    } }, icon('flag', 16), t('unfit.n', { n }));
    return this.unfit;
  }

  /** A run that began from clusters leads to what became of them. */
  changedLink() {
    const began = beganFrom(this.record);
    return began ? h('a.button.changed', { href: formatHash(['compare'], { a: began, b: this.source.id }), title: this.ui.t('learn.changed') }, icon('compare', 16), h('span', null, this.ui.t('learn.changed'))) : null;
  }

  buildTools() {
    const { ui, settings } = this;
    const { t } = ui;
    const now = settings.get();
    const segmented = (name, label, options, value, onchange) => h('div.segmented', { role: 'radiogroup', 'aria-label': label }, options.map(([key, text, iconName]) =>
      h('label', { title: text }, h('input', { type: 'radio', name, value: key, checked: key === value, 'aria-label': text, onchange: () => onchange(key) }),
        iconName ? icon(iconName, 16) : h('span', null, text))));
    this.size = h('input', { type: 'range', min: 40, max: 240, step: 4, value: now.tile, 'aria-label': t('tile.size'), title: t('tile.size') });
    this.search = h('input', { type: 'search', placeholder: t('filter.search.short'), 'aria-label': t('filter.search') });
    this.filterButton = h('button.icon-button', { type: 'button', 'aria-label': t('filter'), title: t('filter'), 'aria-expanded': 'false', onclick: () => this.toggleFilter() }, icon('filter'));
    this.filterPanel = h('div.filter-panel', { hidden: true, role: 'group', 'aria-label': t('filter') });
    this.lassoButton = ui.iconButton(t('lasso'), 'lasso', () => this.setLasso(!this.lasso), { hint: 'L', 'aria-pressed': 'false' });
    // Always in its place, so that nothing moves when there is something to sort.
    this.resort = ui.iconButton(t('resort'), 'sort', () => this.rearrange(), { disabled: true });
    this.orderGroup = segmented('image-order', t('order.images'), IMAGE_ORDERS.map((key) => [key, t(`order.${key}`)]), this.arrangement.order, (key) => this.setOrder(key));
    const clusterOrder = h('select', { 'aria-label': t('order.clusters'), title: t('order.clusters'), onchange: (event) => {
      settings.set({ clusterOrder: event.target.value });
      this.rearrange();
    } }, CLUSTER_ORDERS.map((key) => h('option', { value: key, selected: now.clusterOrder === key }, t(`order.clusters.${key}`))));
    fill(this.toolbar,
      segmented('mode', t('mode'), [['rows', t('mode.rows'), 'rows'], ['grid', t('mode.grid'), 'grid']], now.mode, (mode) => settings.set({ mode })),
      segmented('pictures', t('pictures'), ['raw', 'fitted', 'difference'].map((key) => [key, t(`pictures.${key}`)]), now.pictures, (pictures) => settings.set({ pictures })),
      this.orderGroup, clusterOrder, this.resort,
      h('span.size', null, icon('grid', 12), this.size, icon('grid', 18)), this.captionMenu(),
      this.search, h('span.filter-place', null, this.filterButton, this.filterPanel), this.lassoButton,
      ui.button(t('review'), { iconName: 'review', hint: 'R', onclick: () => this.review() }));
    this.size.addEventListener('input', () => settings.set({ tile: Number(this.size.value) }));
    const searchNow = debounce(() => this.setFilter({ text: this.search.value }), 120);
    this.search.addEventListener('input', searchNow);
  }

  /** What stands below each image: its distance, its name, where it comes from, or what else the run's table says. */
  captionMenu() {
    const { ui, settings, result } = this;
    const { t } = ui;
    let columns = null; // those in which anything stands, looked for when they are asked for
    const filled = () => {
      const some = Array.from({ length: Math.min(result.n, LOOKED_AT) }, (_, row) => result.others(row));
      return result.header.filter((name) => !PLAIN_COLUMN.test(name) && some.some((others) => others[name])).slice(0, MOST_CAPTIONS);
    };
    const word = (name) => (t(`source.${name}`) === `source.${name}` ? name : t(`source.${name}`));
    return ui.menuButton({ label: t('captions'), iconName: 'caption', items: () => {
      columns ??= filled();
      const { captions } = settings.get();
      const now = CAPTIONS.includes(captions) || columns.includes(captions) ? captions : 'distance';
      return [...CAPTIONS.slice(0, -1), ...columns, 'none'].map((name) => ({
        label: CAPTIONS.includes(name) ? t(`captions.${name}`) : word(name), checked: name === now, action: () => settings.set({ captions: name }),
      }));
    } });
  }

  wire() {
    const { ui, ends } = this;
    const { t } = ui;
    ends.add(this.session.on((type, detail) => this.onSession(type, detail)));
    ends.add(this.selection.subscribe(() => this.paintBar()));
    ends.add(this.tray.subscribe(() => {
      this.trayStore.set({ ids: this.tray.values().map((row) => this.result.ids[row]) });
      this.rail.draw();
      this.dock.draw();
    }));
    ends.add(installGestures(this.element, {
      rowOf: (element) => {
        const tile = element.closest('[data-row]');
        return tile && this.element.contains(tile) ? Number(tile.dataset.row) : null;
      },
      rowsFor: (row) => (this.selection.has(row) ? this.orderedSelection() : [row]),
      thumbnail: (row) => this.pictures.thumbnail(row, 'raw', 64),
      label: (target) => this.targetName(target),
      drop: (rows, target) => this.moveTo(rows, target),
      lasso: (element, rect, { add, done }) => this.lassoSelect(element, rect, add, done),
      lassoOn: () => this.lasso,
    }));
    ends.listen(window, 'beforeunload', (event) => {
      if (this.session.unsaved) {
        this.session.save();
        event.preventDefault();
      }
    });
    ends.listen(this.filterPanel, 'keydown', (event) => {
      if (event.key !== 'Escape') return;
      event.preventDefault();
      this.leaveFilter();
    });
    ends.listen(document, 'visibilitychange', () => document.hidden && this.session.save());
    ends.listen(window, 'online', () => this.session.save());
    const chosen = () => this.selection.size > 0;
    const focused = () => this.view.focusRow;
    const either = () => chosen() || (this.element.contains(document.activeElement) && document.activeElement.classList.contains('tile'));
    ends.add(ui.keys.layer(t('keys.result'), [
      { keys: ['ArrowRight', 'ArrowLeft'], label: t('keys.arrows'), run: () => false },
      { keys: ['PageDown', 'PageUp'], label: t('keys.clusters'), run: () => false },
      { keys: ['Enter'], label: t('keys.open'), run: () => false },
      { keys: [' '], label: t('keys.choose'), run: () => false },
      { keys: ['mod+a'], label: t('keys.all'), run: () => this.selectCluster() },
      { keys: ['mod+shift+a'], label: t('keys.everything'), run: () => this.selection.add(this.arrangement.rows()) },
      { keys: ['i'], label: t('keys.invert'), run: () => this.invert() },
      { keys: ['Escape'], label: t('keys.none'), when: chosen, run: () => this.selection.clear() },
      { keys: ['m'], label: t('keys.move'), when: either, run: () => this.moveDialog() },
      { keys: ['2'], label: t('keys.second'), when: either, run: () => this.toSecond() },
      { keys: ['n'], label: t('keys.newcluster'), when: either, run: () => this.newCluster() },
      { keys: ['u'], label: t('keys.unsorted'), when: either, run: () => this.moveTo(this.handRows(), UNSORTED) },
      { keys: ['t'], label: t('keys.tray'), when: either, run: () => this.moveTo(this.handRows(), '+tray') },
      { keys: ['c'], label: t('keys.note'), when: either, run: () => this.noteImages() },
      { keys: ['k'], label: t('keys.tags'), when: either, run: () => this.tagImages() },
      { keys: ['F2', 'e'], label: t('keys.rename'), when: () => this.here() !== null, run: () => this.view.rename(this.here()) },
      { keys: ['g'], label: t('keys.merge'), when: () => this.here() !== null, run: () => this.merge(this.here()) },
      { keys: ['s'], label: t('keys.split'), when: () => this.here() !== null, run: () => this.split(this.here()) },
      { keys: ['x'], label: t('keys.state'), when: () => this.here() !== null, run: () => this.nextState(this.here()) },
      { keys: ['o'], label: t('keys.fold'), when: () => this.here() !== null, run: () => this.view.toggleOpen(this.here()) },
      { keys: ['b'], label: t('keys.beside'), when: () => this.here() !== null, run: () => this.toggleBeside(this.here()) },
      { keys: ['l'], label: t('keys.lasso'), run: () => this.setLasso(!this.lasso) },
      { keys: ['r'], label: t('keys.review'), run: () => this.review() },
      { keys: ['d'], label: t('keys.doubt'), run: () => this.setOrder(this.arrangement.order === 'worst' ? 'best' : 'worst') },
      { keys: ['+', '='], label: t('keys.larger'), run: () => this.resize(12) },
      { keys: ['-'], label: t('keys.smaller'), run: () => this.resize(-12) },
      { keys: ['mod+z'], label: t('keys.undo'), run: () => this.undo() },
      { keys: ['mod+y', 'mod+shift+z'], label: t('keys.redo'), run: () => this.redo() },
      { keys: ['f'], label: t('keys.similar'), when: () => focused() !== null && either(), run: () => this.similar(focused()) },
    ], () => this.element));
  }

  dispose() {
    this.gone = true;
    this.distances.stop();
    this.session.settle();
    this.imageViewer?.close();
    this.view.dispose();
    this.besideView?.dispose();
    this.ends.dispose();
  }

  // -- following the session -----------------------------------------------------------------------------------------

  onSession(type, detail) {
    if (type === 'change') {
      const { operation, direction, begins } = detail;
      if (direction > 0) this.arrangement.before(operation);
      this.arrangement.follow(operation, { undone: direction < 0 });
      for (const row of this.selection.values()) if (!this.stillShown(row)) this.selection.remove([row]);
      this.redraw();
      if (begins) this.place({ push: false });
    } else if (type === 'load') {
      this.selection.clear();
      const { open, order, filter } = this.arrangement;
      this.arrangement = this.makeArrangement({ order, filter });
      for (const id of open) if (this.curation.has(id)) this.arrangement.open.add(id);
      this.view.arrangement = this.arrangement;
      if (this.besideView) this.besideView.arrangement = this.arrangement;
      this.beside = this.beside.filter((id) => this.curation.has(id));
      this.redraw();
      this.place({ push: false });
      if (this.session.recovered) this.ui.toast(this.ui.t('draft.recovered'));
    } else if (type === 'status' && this.session.status === 'conflict') this.conflict();
    this.paintTitle();
    this.dock?.draw();
  }

  stillShown(row) {
    return !this.arrangement.filtered || this.arrangement.test(row);
  }

  /** Draw what changed, and leave everything else where it is. */
  redraw() {
    for (const view of [this.view, this.besideView]) {
      if (!view) continue;
      for (const section of view.sections.values()) section.pictureKey = section.view === view ? section.pictureKey : null;
      view.relayout(); // draws heads and tiles anew as well
    }
    this.drawBeside();
    this.rail.draw();
    this.resort.disabled = this.arrangement.settled;
    this.paintBar();
  }

  paintTitle() {
    const { t, i18n } = this.ui;
    const { session } = this;
    fill(this.variantButton, h('span', null, session.name === null ? t('variant.raw') : session.title || session.name), icon('down', 12));
    this.variantButton.setAttribute('aria-label', t('variant.shown', { name: session.name === null ? t('variant.raw') : session.title }));
    this.saveState.textContent = session.name === null ? '' : t(`save.${session.status}`);
    this.saveState.dataset.status = session.status;
    this.undoButton.disabled = !session.curation.canUndo;
    this.redoButton.disabled = !session.curation.canRedo;
    const counts = session.curation.counts();
    const total = session.curation.order.length;
    this.checked.textContent = counts.checked || counts.doubtful ? t('checked.count', { n: counts.checked, total }) : '';
    this.checked.title = t('checked.left', { n: i18n.number(counts.to_see), doubtful: i18n.number(counts.doubtful) });
  }

  paintBar() {
    const { ui } = this;
    const { t, i18n } = ui;
    const n = this.selection.size;
    if (n === 0) {
      if (this.bar.contains(document.activeElement)) this.mainElement.querySelector('.tile[tabindex="0"]')?.focus({ preventScroll: true });
      this.bar.hidden = true;
      return;
    }
    if (this.bar.hidden) {
      this.barCount = h('strong.num', { 'aria-live': 'polite' });
      fill(this.bar, this.barCount,
        ui.button(t('select.all'), { onclick: () => this.selectCluster() }), ui.button(t('select.invert'), { onclick: () => this.invert() }),
        ui.button(t('select.none'), { onclick: () => this.selection.clear() }), h('span.divider'),
        ui.button(t('move.to'), { iconName: 'move', primary: true, hint: 'M', onclick: () => this.moveDialog() }),
        ui.button(t('cluster.new'), { iconName: 'add', hint: 'N', onclick: () => this.newCluster() }),
        ui.button(t('unsorted'), { iconName: 'flag', hint: 'U', onclick: () => this.moveTo(this.handRows(), UNSORTED) }),
        ui.button(t('tray'), { iconName: 'tray', hint: 'T', onclick: () => this.moveTo(this.handRows(), '+tray') }),
        ui.iconButton(t('note'), 'note', () => this.noteImages(), { hint: 'C' }), ui.iconButton(t('tags'), 'tag', () => this.tagImages(), { hint: 'K' }));
      this.bar.hidden = false;
    }
    this.barCount.textContent = t('n.chosen', { n: i18n.number(n), count: n });
  }

  markRail(top) {
    const section = sectionsWithin(this.view.layout, top + 80, top + 80)[0];
    if (section) this.rail.mark(section.id);
  }

  // -- what is shown ---------------------------------------------------------------------------------------------------

  async setOrder(order) {
    if (order === 'doubt' && !this.result.whole && !(await this.known())) order = this.arrangement.order;
    for (const input of this.orderGroup.querySelectorAll('input')) input.checked = input.value === order;
    this.arrangement.order = order;
    this.rearrange();
    this.ui.announce(this.ui.t('order.done', { order: this.ui.t(`order.${order}`) }));
  }

  rearrange() {
    this.arrangement.clusterOrder = this.settings.get().clusterOrder;
    this.arrangement.arrange();
    this.redraw();
  }

  async setFilter(change) {
    if (change.only === 'doubtful' && !this.result.whole && !(await this.known())) return;
    const filter = { ...this.arrangement.filter, ...change };
    this.arrangement.set({ filter });
    if (this.search.value !== (filter.text ?? '')) this.search.value = filter.text ?? '';
    const count = [filter.source, filter.tag, filter.only, filter.cluster, ...Object.values(filter.facets ?? {})].filter(Boolean).length;
    this.filterButton.setAttribute('aria-pressed', String(count > 0));
    this.unfit?.setAttribute('aria-pressed', String(filter.only === 'unfit'));
    this.mainElement.scrollTop = 0;
    this.redraw();
    if (!this.filterPanel.hidden && !this.filterPanel.contains(document.activeElement)) this.drawFilter();
    this.filterFound?.replaceChildren(this.found());
    if (this.arrangement.filtered) this.ui.announce(this.ui.t('filter.found', { n: this.arrangement.total() }));
  }

  toggleFilter(open = this.filterPanel.hidden) {
    this.filterPanel.hidden = !open;
    this.filterButton.setAttribute('aria-expanded', String(open));
    if (open) {
      this.drawFilter();
      this.filterPanel.querySelector('select')?.focus();
    }
  }

  leaveFilter() {
    this.toggleFilter(false);
    this.filterButton.focus();
  }

  /** How many images the filter leaves. */
  found() { return this.arrangement.filtered ? this.ui.t('filter.found', { n: this.arrangement.total() }) : ''; }

  /** A filter by another column of the run's table: a choice of its values, or first and last year. */
  facetLine({ column, values, dates }, value) {
    const { t, i18n } = this.ui;
    const word = t(`source.${column}`) === `source.${column}` ? column : t(`source.${column}`);
    const change = (next) => this.setFilter({ facets: { ...this.arrangement.filter.facets, [column]: next } });
    if (!dates) {
      return h('label.filter-line', null, h('span', null, word), h('select', { onchange: (event) => change(event.target.value) }, h('option', { value: '' }, t('filter.any')),
        values.sort(([a], [b]) => i18n.compare(a, b)).map(([one, n]) => h('option', { value: one, selected: value === one }, `${one} (${i18n.number(n)})`))));
    }
    const year = (key) => h('input.year', { type: 'number', min: 0, max: 2100, value: value?.[key] ?? '', placeholder: t(`filter.${key}`), 'aria-label': `${word}, ${t(`filter.${key}`)}`, onchange: (event) => change({ ...value, [key]: event.target.value }) });
    return h('div.filter-line', { role: 'group', 'aria-label': word }, h('span', null, word), h('span.years', null, year('from'), ' – ', year('to')));
  }

  drawFilter() {
    this.facets ??= facetsOf(this.result, ['fits', ...['document', 'source'].filter((name) => this.result.header.includes(name)).slice(0, 1)]);
    const { t, i18n } = this.ui;
    const { filter } = this.arrangement;
    this.filterFound = h('span.muted.num', { role: 'status' }, this.found());
    const counts = new Map();
    for (let row = 0; row < this.result.n; row += 1) {
      const source = this.sourceOf(row);
      counts.set(source, (counts.get(source) ?? 0) + 1);
    }
    const sources = [...counts.keys()].filter(Boolean).sort(i18n.compare);
    const tags = [...new Set([...this.curation.images.values()].flatMap((image) => image.tags))].sort(i18n.compare);
    const select = (key, label, options) => h('label.filter-line', null, h('span', null, label), h('select', { onchange: (event) => this.setFilter({ [key]: event.target.value }) },
      h('option', { value: '' }, t('filter.any')), options.map(([value, text]) => h('option', { value, selected: filter[key] === value }, text))));
    fill(this.filterPanel,
      sources.length > 1 ? select('source', t('filter.source'), sources.slice(0, 2000).map((one) => [one, `${one} (${i18n.number(counts.get(one))})`])) : null,
      this.facets.map((facet) => this.facetLine(facet, filter.facets?.[facet.column])),
      select('cluster', t('filter.cluster'), this.curation.order.map((id) => [id, this.curation.name(id)])),
      select('tag', t('filter.tag'), tags.map((one) => [one, one])),
      select('only', t('filter.only'), ['doubtful', ...(this.unfit ? ['unfit'] : []), 'moved', 'noted'].map((one) => [one, t(`filter.only.${one}`)])),
      h('div.filter-foot', null, this.filterFound,
        this.ui.button(t('filter.clear'), { onclick: () => {
          this.actions.clearFilter();
          this.toggleFilter(true);
        } }), this.ui.button(t('done'), { onclick: () => this.leaveFilter() })));
  }

  resize(step) {
    const tile = Math.max(40, Math.min(240, this.settings.get().tile + step));
    this.size.value = tile;
    this.settings.set({ tile });
  }

  setLasso(on) {
    this.lasso = on;
    this.lassoButton.setAttribute('aria-pressed', String(on));
    this.element.classList.toggle('lasso-on', on);
    this.ui.announce(this.ui.t(on ? 'lasso.on' : 'lasso.off'));
  }

  lassoSelect(element, rect, add, done) {
    const view = element === this.mainElement ? this.view : this.besideView;
    if (!view?.layout) return;
    const rows = tilesInRect(view.layout, rect).flatMap(({ id, numbers }) => {
      const list = this.arrangement.list(id);
      return numbers.map((number) => list[number]);
    });
    if (!this.lassoBase) this.lassoBase = add ? this.selection.values() : [];
    this.selection.replace([...this.lassoBase, ...rows]);
    if (done) this.lassoBase = null;
  }

  jump(id) {
    if (!this.curation.has(id)) return;
    this.view.scrollToCluster(id, { flash: true });
    const first = this.arrangement.list(id)[0];
    if (first !== undefined) this.view.setFocusRow(first);
    this.place({ cluster: id, push: false });
  }

  /** Keep the address in step: variant, cluster and image. */
  place({ cluster = null, image = null, push = false }) {
    this.onPlace?.({ cluster, image, variant: this.session.name }, { push });
  }

  goToPlace({ cluster, image }) {
    if (image !== undefined && image !== null) {
      const row = this.result.row(image);
      if (row !== undefined) this.openImage(row, { push: false });
    } else {
      this.imageViewer?.close({ quiet: true });
      if (cluster && this.curation.has(cluster)) {
        this.arrangement.open.add(cluster);
        this.view.relayout();
        this.view.scrollToCluster(cluster, { flash: true });
      }
    }
  }

  async openImage(row, options = {}) {
    if (this.imageViewer) {
      this.imageViewer.show(row);
      return;
    }
    const { openImageViewer } = await later.image();
    if (this.gone || this.imageViewer) return;
    if (options.push !== false) this.place({ image: this.result.ids[row], push: true });
    this.imageViewer = openImageViewer(this, row, {
      ...options,
      onShow: (shown) => this.place({ image: this.result.ids[shown], push: false }),
      onClose: (last, { quiet = false } = {}) => {
        this.imageViewer = null;
        if (!quiet) this.place({ push: false });
        this.view.focus(last);
      },
    });
  }

  // -- choosing ----------------------------------------------------------------------------------------------------------

  /** The chosen images in reading order. */
  orderedSelection() {
    const rows = [...this.arrangement.rows()].filter((row) => this.selection.has(row));
    return rows.length === this.selection.size ? rows : this.selection.values();
  }

  /** What a key acts on: the chosen images, else the one that has the focus. */
  handRows() {
    if (this.selection.size) return this.orderedSelection();
    return this.view.focusRow === null ? [] : [this.view.focusRow];
  }

  /** The cluster that a key acts on: the one with the focus, else the one under the pointer. */
  here() {
    const focus = document.activeElement?.closest?.('[data-cluster]')?.dataset.cluster;
    const id = focus ?? this.view.lastSection;
    return id !== null && id !== undefined && this.curation.has(id) ? id : null;
  }

  selectCluster() {
    const ids = new Set(this.selection.values().map((row) => this.curation.place[row]));
    const here = this.here();
    if (!ids.size && here) ids.add(here);
    if (here && document.activeElement?.closest?.('[data-cluster]')) {
      this.selection.add(this.arrangement.list(here));
      return;
    }
    for (const id of ids) this.selection.add(this.arrangement.list(id));
  }

  /** Choose what lies far off in a cluster; "U" then lifts it out. */
  selectOutliers(id) {
    const rows = outliers(this.curation, id);
    if (!rows.length) {
      this.ui.toast(this.ui.t('outliers.none'));
      return;
    }
    this.selection.add(rows);
    this.ui.announce(this.ui.t('outliers.found', { n: rows.length }));
    this.view.reveal(rows[0]);
  }

  invert() {
    const ids = new Set(this.selection.values().map((row) => this.curation.place[row]));
    if (!ids.size) {
      const here = this.here();
      if (here) ids.add(here);
    }
    for (const id of ids) this.selection.invert(this.arrangement.list(id));
  }

  // -- doing ---------------------------------------------------------------------------------------------------------------

  /** Do something to the curation and say what happened, with "Undo" beside it. */
  act(action, { quiet = false } = {}) {
    const answer = this.session.act(action);
    const operation = answer?.operation ?? answer;
    if (!operation) return null;
    const text = describe(operation, this.ui);
    if (quiet) this.ui.announce(text);
    else this.ui.toast(text, { action: this.ui.t('undo'), onAction: () => this.undo() });
    return answer;
  }

  undo() {
    const operation = this.session.undo();
    if (operation) this.ui.announce(this.ui.t('undone', { what: describe(operation, this.ui) }));
  }

  redo() {
    const operation = this.session.redo();
    if (operation) this.ui.announce(this.ui.t('redone', { what: describe(operation, this.ui) }));
  }

  targetName(target) {
    const { t } = this.ui;
    if (target === '+new') return t('cluster.new');
    if (target === '+tray') return t('tray');
    if (target === UNSORTED) return t('unsorted');
    return this.curation.name(target);
  }

  moveTo(rows, target) {
    if (!rows.length || !target) return;
    const { t } = this.ui;
    if (target === '+tray') {
      this.tray.add(rows);
      this.selection.remove(rows);
      this.ui.toast(t('tray.added', { n: rows.length }), { action: t('tray.show'), onAction: () => this.toggleDock('tray', true) });
      return;
    }
    const focusWas = this.view.focusRow;
    const after = focusWas !== null && rows.includes(focusWas) ? this.heir(rows) : null;
    const hadFocus = document.activeElement?.closest?.('.cluster-view') === this.mainElement;
    // The focus goes on before its image does: afterwards the browser would have to lay everything out for it at once.
    if (after !== null && hadFocus && target !== '+new') this.view.tileOf(after)?.focus({ preventScroll: true });
    let done;
    if (target === '+new') done = this.createFrom(rows);
    else done = this.act((curation) => curation.move(rows, target));
    if (!done) return;
    this.selection.remove(rows);
    this.tray.remove(rows);
    // A new cluster is being named at this moment: the focus is there.
    if (after !== null && hadFocus && target !== '+new') this.view.focus(after);
  }

  /** The image that gets the focus when the one that has it moves away: the next that stays. */
  heir(rows) {
    const leaving = new Set(rows);
    const id = this.curation.place[this.view.focusRow];
    const list = this.arrangement.list(id);
    const at = list.indexOf(this.view.focusRow);
    return list.slice(at).find((row) => !leaving.has(row)) ?? list.slice(0, at).reverse().find((row) => !leaving.has(row)) ?? null;
  }

  createFrom(rows) {
    const { t } = this.ui;
    const beside = rows.length ? this.curation.place[rows[0]] : null;
    const number = this.curation.order.filter((id) => id.startsWith('new-')).length + 1;
    const answer = this.act((curation) => curation.create(rows, { name: t('cluster.new.n', { n: number }), beside }));
    if (answer?.id) this.view.rename(answer.id);
    return answer;
  }

  newCluster() {
    const rows = this.handRows();
    this.selection.remove(rows);
    this.createFrom(rows);
  }

  /** One dialog at a time: a key that is pressed twice while its dialog is on the way opens it once. */
  async once(ask) {
    if (this.asking) return;
    this.asking = true;
    try {
      await ask();
    } finally {
      this.asking = false;
    }
  }

  moveDialog() { return this.once(() => this._moveDialog()); }

  async _moveDialog() {
    const rows = this.handRows();
    if (!rows.length) return;
    await this.known();
    const ids = new Set(rows.map((row) => this.curation.place[row]));
    const { chooseCluster } = await later.choose();
    const target = await chooseCluster(this, { title: this.ui.t('move.title', { n: rows.length }), rows, without: ids.size === 1 ? [...ids] : [] });
    if (target) this.moveTo(rows, target);
  }

  moveDialogFor(row) { return this.once(() => this._moveDialogFor(row)); }

  async _moveDialogFor(row) {
    await this.known();
    const { chooseCluster } = await later.choose();
    const target = await chooseCluster(this, { title: this.ui.t('move.title', { n: 1 }), rows: [row], without: [this.curation.place[row]] });
    if (target) this.moveTo([row], target);
  }

  /** Send each image to the cluster that fits it second best. */
  async toSecond() {
    const rows = this.handRows();
    if (!this.result.whole && !(await this.known())) return;
    const targets = new Map();
    for (const row of rows) {
      const next = this.curation.nearest(row, 2).find(({ id }) => id !== this.curation.place[row]);
      if (!next) continue;
      if (!targets.has(next.id)) targets.set(next.id, []);
      targets.get(next.id).push(row);
    }
    if (!targets.size) this.ui.toast(this.ui.t('second.unknown'));
    for (const [id, list] of targets) this.moveTo(list, id);
  }

  async noteImages() {
    const rows = this.handRows();
    if (!rows.length) return;
    const { t } = this.ui;
    const note = await this.ui.prompt({
      title: t('note.images', { n: rows.length }), label: t('note'), value: rows.length === 1 ? this.curation.image(rows[0]).note : '', yes: t('save'), multiline: true,
    });
    if (note !== undefined) this.act((curation) => curation.noteImages(rows, note), { quiet: true });
  }

  async tagImages() {
    const rows = this.handRows();
    if (!rows.length) return;
    const { t } = this.ui;
    const common = rows.length === 1 ? this.curation.image(rows[0]).tags : [];
    const text = await this.ui.prompt({ title: t('tags.images', { n: rows.length }), label: t('tags'), value: common.join(', '), yes: t('save'), hint: t('tags.hint') });
    if (text === undefined) return;
    const tags = splitTags(text);
    this.act((curation) => curation.tagImages(rows, { add: tags, remove: common.filter((tag) => !tags.includes(tag)) }), { quiet: true });
  }

  merge(id) { return this.once(() => this._merge(id)); }

  async _merge(id) {
    await this.known();
    const { mergeDialog } = await later.choose();
    const chosen = await mergeDialog(this, id);
    if (!chosen) return;
    this.act((curation) => curation.merge(chosen.from, chosen.into, { name: chosen.name }));
    this.view.scrollToClusterIfHidden(chosen.into);
  }

  split(id) { return this.once(() => this._split(id)); }

  async _split(id) {
    const chosen = this.selection.values().filter((row) => this.curation.place[row] === id);
    if (this.curation.members(id).length < 2) {
      this.ui.toast(this.ui.t('split.small'));
      return;
    }
    await this.known();
    const { splitDialog } = await later.choose();
    const answer = await splitDialog(this, id, chosen);
    if (!answer) return;
    this.act((curation) => curation.split(id, answer.rows, answer.name));
    this.selection.remove(answer.rows);
  }

  nextState(id) {
    const now = this.curation.cluster(id).state;
    this.setState(id, STATES[(STATES.indexOf(now) + 1) % STATES.length]);
  }

  setState(id, state) { this.act((curation) => curation.setState(id, state), { quiet: true }); }

  async clusterAction(act, id, button) {
    const { ui } = this;
    const { t } = ui;
    if (act === 'merge') await this.merge(id);
    else if (act === 'beside') this.toggleBeside(id);
    else if (act === 'unbeside') this.toggleBeside(id);
    else if (act === 'prototype') (await later.prototype()).prototypeDialog(this, id);
    else if (act === 'state') {
      ui.menu(button, STATES.map((state) => ({ label: t(`cluster.state.${state}`), checked: this.curation.cluster(id).state === state, action: () => this.setState(id, state) })), { label: t('cluster.state') });
    } else if (act === 'menu') {
      const empty = this.curation.members(id).length === 0;
      const sections = this.arrangement.open.has(id);
      ui.menu(button, [
        { label: t(sections ? 'cluster.fold' : 'cluster.open'), icon: 'down', action: () => this.view.toggleOpen(id), hint: 'O' },
        { label: t('select.cluster'), icon: 'check', action: () => this.selection.add(this.arrangement.list(id)), hint: 'Ctrl+A' },
        { label: t('select.outliers'), icon: 'flag', action: () => this.selectOutliers(id) },
        { label: t('link.copy'), icon: 'link', action: () => this.copyLink(id) },
        '-',
        { label: t('rename'), icon: 'pencil', action: () => this.view.rename(id), hint: 'E' },
        { label: t('split.action'), icon: 'split', action: () => this.split(id), hint: 'S', disabled: this.curation.members(id).length < 2 },
        { label: t('merge.action'), icon: 'merge', action: () => this.merge(id), hint: 'G' },
        { label: t('beside.action'), icon: 'compare', action: () => this.toggleBeside(id), hint: 'B' },
        '-',
        { label: t('note'), icon: 'note', action: () => this.noteCluster(id) },
        { label: t('tags'), icon: 'tag', action: () => this.tagCluster(id) },
        { label: t('cluster.delete'), icon: 'trash', tone: 'bad', disabled: !empty, action: () => this.act((curation) => curation.removeEmpty([id])) },
      ], { label: t('cluster.actions', { name: this.curation.name(id) }) });
    }
  }

  async copyLink(id) {
    const { t } = this.ui;
    this.place({ cluster: id, push: false });
    try {
      await navigator.clipboard.writeText(location.href);
      this.ui.toast(t('link.copied'));
    } catch {
      this.ui.toast(t('link.inbar'));
    }
  }

  async noteCluster(id) {
    const { t } = this.ui;
    const note = await this.ui.prompt({ title: t('note.cluster', { name: this.curation.name(id) }), label: t('note'), value: this.curation.cluster(id).note, yes: t('save'), multiline: true });
    if (note !== undefined) this.act((curation) => curation.setNote(id, note), { quiet: true });
  }

  async tagCluster(id) {
    const { t } = this.ui;
    const text = await this.ui.prompt({ title: t('tags.cluster', { name: this.curation.name(id) }), label: t('tags'), value: this.curation.cluster(id).tags.join(', '), yes: t('save'), hint: t('tags.hint') });
    if (text !== undefined) this.act((curation) => curation.setTags(id, splitTags(text)), { quiet: true });
  }

  removeEmpty() {
    const empty = this.curation.order.filter((id) => this.curation.members(id).length === 0);
    if (!empty.length) this.ui.toast(this.ui.t('empty.none'));
    else this.act((curation) => curation.removeEmpty());
  }

  similar(row) {
    return this.once(async () => {
      await this.known();
      (await later.similar()).openSimilar(this, row); // not waited for: from here an image may be opened
    });
  }

  review() { return this.once(() => this._review()); }

  async _review() {
    await this.known();
    const { openReview } = await later.review();
    const rows = doubtfulQueue(this.curation, 50).filter((row) => !this.curation.image(row).reviewed);
    openReview(this, rows); // not waited for: from here a cluster may be chosen
  }

  // -- beside and dock -------------------------------------------------------------------------------------------------------

  toggleBeside(id) {
    if (this.beside.includes(id)) this.beside = this.beside.filter((one) => one !== id);
    else this.beside = [...this.beside, id].slice(-MOST_BESIDE);
    this.drawBeside();
  }

  drawBeside() {
    this.beside = this.beside.filter((id) => this.curation.has(id));
    const open = this.beside.length > 0;
    const was = !this.besideElement.hidden;
    this.besideElement.hidden = !open;
    this.body.classList.toggle('with-beside', open);
    if (!open) {
      this.besideView?.dispose();
      this.besideView = null;
    } else if (!this.besideView) {
      this.besideView = new ClusterView(this.besideElement, this.viewOptions({ only: this.beside }));
    } else {
      this.besideView.only = this.beside;
      this.besideView.relayout();
    }
    if (was !== open) this.view.relayout();
  }

  toggleDock(tab, open = this.dock.tab !== tab) {
    this.dock.show(open ? tab : null);
    for (const button of this.dockButtons) button.setAttribute('aria-pressed', String(button.dataset.tab === this.dock.tab));
    this.view.relayout();
  }

  // -- readings ----------------------------------------------------------------------------------------------------------------

  variantItems() {
    const { session } = this;
    const { t } = this.ui;
    return [
      { label: t('variant.raw'), checked: session.name === null, action: () => this.openVariant(null) },
      ...session.variants.map((one) => ({ label: [one.title || one.name, one.author].filter(Boolean).join(' · '), checked: session.name === one.name, action: () => this.openVariant(one.name) })),
      '-',
      { label: t('variant.copy'), icon: 'add', action: () => this.copyVariant() },
      session.name !== null && { label: t('variant.edit'), icon: 'pencil', action: () => this.editVariant() },
      { label: t('variant.compare'), icon: 'compare', disabled: session.variants.length === 0, action: async () => (await later.compare()).compareDialog(this) },
      { label: t('empty.remove'), icon: 'trash', action: () => this.removeEmpty() },
      session.name !== null && { label: t('variant.delete'), icon: 'trash', tone: 'bad', action: () => this.deleteVariant() },
    ];
  }

  async openVariant(name) {
    try {
      await this.session.open(name);
    } catch (error) {
      this.ui.failure(error);
    }
  }

  async copyVariant() {
    const { t } = this.ui;
    const title = await this.ui.prompt({ title: t('variant.copy'), label: t('name'), value: t('variant.default', { n: this.session.variants.length + 1 }), yes: t('save') });
    if (title) await this.session.copy(title);
  }

  async editVariant() {
    const said = await (await later.reading()).readingDialog(this);
    if (!said) return;
    this.session.describe(said);
    if (this.session.author || !said.author) return;
    this.person.set({ name: said.author });
    this.session.signAs(said.author);
  }

  async deleteVariant() {
    const { t } = this.ui;
    const { name, title } = this.session;
    const yes = await this.ui.confirm({ title: t('variant.delete'), text: t('variant.delete.text', { name: title }), yes: t('delete'), tone: 'bad' });
    if (yes) await this.session.remove(name).catch((error) => this.ui.failure(error));
  }

  async conflict() {
    if (this.resolving) return;
    this.resolving = true;
    const { t } = this.ui;
    const choice = await this.ui.dialog({
      title: t('conflict.title'),
      className: 'small',
      build: (body, close) => {
        fill(body, h('p', null, t('conflict.text', { name: this.session.title })));
        return { footer: [
          h('button', { type: 'button', onclick: () => close('theirs') }, t('conflict.theirs')),
          h('button.primary', { type: 'button', onclick: () => close('mine') }, t('conflict.mine')),
        ] };
      },
    });
    this.resolving = false;
    try {
      await this.session.resolve(choice ?? 'mine', t('conflict.copy', { name: this.session.title }));
    } catch (error) {
      this.ui.failure(error);
    }
  }

  async renameExperiment(button) {
    const { t } = this.ui;
    const name = await this.ui.prompt({ title: t('rename'), label: t('name'), value: this.record?.name ?? '', yes: t('save') });
    if (!name) return;
    try {
      this.record = await this.onRename(name);
      button.textContent = name;
    } catch (error) {
      this.ui.failure(error);
    }
  }
}

const splitTags = (text) => [...new Set(text.split(',').map((tag) => tag.trim()).filter(Boolean))];
