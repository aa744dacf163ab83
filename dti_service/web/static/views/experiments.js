// The list of experiments: only the rows in sight exist, pages are fetched as they are needed.

import { ExperimentSource } from '../lib/api.js';
import { debounce, disposer, fill, h } from '../lib/dom.js';
import { icon } from '../lib/icons.js';
import { formatHash } from '../lib/router.js';
import { remembered } from '../lib/store.js';
import { listWindow } from '../logic/layout.js';
import { clusterCount, elapsed, imageCount, isActive, notebookWord, progressBar } from './facts.js';
import { FormingTiles } from './forming.js';

const ROW = 84;
const PAGE = 100;
const REFRESH = 2500; // where the server does not tell by itself what happens
const NOW_AND_THEN = 30_000;
const FORMING = 4000;
const MINIATURES = 4;
const COMPARED = 12; // the most runs to compare at once
const UNDO = 7000;
const STATES = ['queued', 'running', 'succeeded', 'failed', 'cancelled'];
const SORTS = ['-created_at', 'created_at', 'name', '-name', 'state'];

export function mount(element, { api, ui, i18n, t, title, router }) {
  title(t('experiments.title'));
  element.classList.add('list-page');
  const ends = disposer();
  const view = remembered('dti.experiments', { sort: '-created_at', state: '' });
  const query = { q: '' };
  let items = [];
  let total = 0;
  let cursor = null;
  let loading = null;
  let generation = 0;
  let failed = null;
  let building = null; // {done, total} while the server puts its list together: it has only the newest so far
  const gone = new Map(); // id -> timer of the real deletion
  const forming = new Map(); // id of a running experiment -> FormingTiles
  let told = null; // ends the stream of news, while there is one

  const search = h('input', { type: 'search', placeholder: t('experiments.search'), 'aria-label': t('experiments.search') });
  const sortSelect = h('select', { 'aria-label': t('sort') },
    SORTS.map((key) => h('option', { value: key, selected: view.get().sort === key }, t(`experiments.sort.${key}`))));
  const states = h('div.segmented', { role: 'radiogroup', 'aria-label': t('experiments.filter') }, ['', ...STATES].map((state) =>
    h('label', null, h('input', { type: 'radio', name: 'state', value: state, checked: view.get().state === state }),
      h('span', null, t(state ? `state.${state}` : 'experiments.all')))));
  const count = h('span.muted.num', { role: 'status' });
  const compare = h('a.button', { hidden: true });
  const scroller = h('div.list-scroll', { tabindex: -1 });
  const space = h('ul.experiment-rows', { 'aria-label': t('experiments.title') });
  const note = h('div');
  scroller.append(space, note);
  fill(element,
    h('div.list-head', null,
      h('div.list-title', null, h('h1', null, t('experiments.title')), count,
        h('a.button.primary', { href: '#/new' }, icon('add', 16), t('nav.new'))),
      h('div.list-tools', null, search, states, compare, h('label.inline', null, h('span.muted', null, t('sort')), sortSelect))),
    scroller);

  // -- data ------------------------------------------------------------------------------------------------

  const request = (extra = {}) => ({ limit: PAGE, sort: view.get().sort, state: view.get().state, q: query.q, ...extra });

  async function reload() {
    generation += 1;
    const mine = generation;
    loading = null;
    failed = null;
    try {
      const page = await api.experiments(request());
      if (mine !== generation) return;
      items = page.items;
      ({ total } = page);
      cursor = page.next_cursor;
      building = page.index ?? null;
      scroller.scrollTop = 0;
    } catch (error) {
      if (mine !== generation) return;
      failed = error;
    }
    first = false;
    draw(true);
  }

  /** Fetch pages one after the other until row `last` is there. */
  function ensure(last) {
    if (loading || cursor === null || items.length >= last) return;
    const mine = generation;
    loading = (async () => {
      while (cursor !== null && items.length < last && mine === generation) {
        const page = await api.experiments(request({ cursor }));
        if (mine !== generation) return;
        const known = new Set(items.map((item) => item.id));
        items.push(...page.items.filter((item) => !known.has(item.id)));
        cursor = page.next_cursor;
        ({ total } = page);
        draw(true);
      }
    })().catch((error) => ui.failure(error)).finally(() => {
      if (mine === generation) loading = null;
    });
  }

  /** Look at the head of the list and at the running ones in sight; what changed is drawn where it stands. */
  async function refresh() {
    if (document.hidden || first || failed) return;
    const mine = generation;
    try {
      const page = await api.experiments(request());
      if (mine !== generation) return;
      if (building && !page.index) {
        reload();
        return;
      }
      building = page.index ?? null;
      const at = new Map(items.map((item, index) => [item.id, index]));
      const fresh = page.items.filter((item) => !at.has(item.id));
      for (const item of page.items) if (at.has(item.id)) items[at.get(item.id)] = item;
      if (fresh.length && view.get().sort === '-created_at') {
        items = [...fresh, ...items];
        if (scroller.scrollTop > 0) scroller.scrollTop += fresh.length * ROW;
      }
      total = page.total;
      const { state } = view.get();
      if (state) items = items.filter((item) => item.state === state || (state === 'running' && item.state === 'cancelling'));
      const seen = new Set(page.items.map((item) => item.id));
      const [from, to] = range();
      const others = items.slice(from, to).filter((item) => isActive(item) && !seen.has(item.id)).slice(0, 8);
      for (const item of others) {
        const now = await api.experiment(item.id);
        const index = items.findIndex((one) => one.id === item.id);
        if (mine === generation && index >= 0) items[index] = now;
      }
      draw(true);
    } catch {
      // The next round tries again; a message every few seconds would help nobody.
    }
  }

  const refreshSoon = debounce(() => refresh(), 400);

  /** Hear what happens, as long as somebody looks; without news the list is asked for again and again. */
  function listen() {
    told?.();
    told = null;
    if (document.hidden) return;
    told = api.news({ onEvent: hear, onEnd: () => {
      told = null;
    } });
    refresh();
  }

  function hear({ kind, experiment_id: id, experiment, progress }) {
    const at = items.findIndex((item) => item.id === id);
    if (kind === 'progress') {
      if (at < 0) return;
      items[at] = { ...items[at], progress };
      draw(true);
      return;
    }
    if (kind === 'deleted' && at >= 0 && !gone.has(id)) {
      items.splice(at, 1);
      total = Math.max(0, total - 1);
    } else if (at >= 0 && experiment) items[at] = experiment;
    if (at >= 0) draw(true);
    refreshSoon(); // places in the queue, what is new, and what matches
  }

  /** Running experiments in sight show their prototypes as they form. */
  function look() {
    if (document.hidden || first) return;
    const [from, to] = range();
    const running = visible().slice(from, to).filter((item) => item.state === 'running').slice(0, MINIATURES);
    for (const id of forming.keys()) if (!items.some((item) => item.id === id && item.state === 'running')) forming.delete(id);
    for (const { id } of running) {
      if (!forming.has(id)) {
        forming.set(id, new FormingTiles(new ExperimentSource(api, id), MINIATURES));
        draw(true);
      }
      forming.get(id).look();
    }
  }

  // -- drawing ---------------------------------------------------------------------------------------------

  const visible = () => (gone.size ? items.filter((item) => !gone.has(item.id)) : items);
  const range = () => listWindow({
    total: Math.max(0, total - gone.size), rowHeight: ROW, top: scroller.scrollTop, height: scroller.clientHeight || 800,
  });
  let first = true;
  const drawn = new Map(); // key -> {element, item}

  function draw(force = false) {
    const shown = visible();
    const [from, to] = range();
    ensure(to + 20);
    space.style.height = `${Math.max(0, total - gone.size) * ROW}px`;
    const wanted = new Map();
    for (let at = from; at < to; at += 1) wanted.set(shown[at]?.id ?? `#${at}`, at);
    for (const [key, { element: row }] of drawn) {
      // The row with the focus stays while it is only scrolled away.
      const held = row.contains(document.activeElement) && shown.some((item) => item.id === key);
      if (!wanted.has(key) && !held) {
        row.remove();
        drawn.delete(key);
      }
    }
    let before = null;
    for (const [key, at] of wanted) {
      const item = shown[at];
      let entry = drawn.get(key);
      if (!entry || (force && item && entry.item !== item && changedItem(entry.item, item))) {
        const row = item ? experimentRow(item) : h('li.experiment-row.waiting', { 'aria-hidden': 'true' }, h('div.skeleton'), h('div.skeleton'));
        if (entry) replaceRow(entry.element, row);
        entry = { element: row, item };
        drawn.set(key, entry);
      }
      const row = entry.element;
      row.style.transform = `translateY(${at * ROW}px)`;
      row.setAttribute('aria-posinset', at + 1);
      row.setAttribute('aria-setsize', total);
      if (!row.isConnected || row.previousElementSibling !== before) {
        if (!row.contains(document.activeElement)) {
          if (before) before.after(row);
          else space.prepend(row);
        }
      }
      before = row;
    }
    count.textContent = first ? '' : [t('experiments.count', { n: total - gone.size }),
      building && t('experiments.building', { share: i18n.percent(building.done / Math.max(1, building.total)) })].filter(Boolean).join(' · ');
    fill(note, state());
    // A search that leaves a few runs, such as those of a sweep, can be compared at once.
    const few = query.q && total <= COMPARED ? shown.filter((item) => item.state === 'succeeded') : [];
    compare.hidden = few.length < 2;
    if (!compare.hidden) {
      compare.href = formatHash(['compare'], { ids: few.map((item) => item.id).join(',') });
      compare.textContent = t('experiments.compare', { n: few.length });
    }
  }

  function replaceRow(old, fresh) {
    const focus = old.contains(document.activeElement) ? document.activeElement.dataset.part : null;
    old.replaceWith(fresh);
    if (focus) fresh.querySelector(`[data-part="${focus}"]`)?.focus({ preventScroll: true });
  }

  function state() {
    if (failed) {
      return h('div.empty', null, icon('warning', 34), h('h2', null, t('error.load')),
        h('p', null, failed.status === 0 ? t('error.offline') : failed.message), ui.button(t('retry'), { onclick: reload }));
    }
    if (first) return h('div.loading-rows', { 'aria-hidden': 'true' }, [0, 1, 2, 3, 4].map(() => h('div.experiment-row.waiting.static', null, h('div.skeleton'), h('div.skeleton'))));
    if (total - gone.size > 0) return null;
    if (query.q || view.get().state) {
      return h('div.empty', null, h('h2', null, t('experiments.none')), h('p', null, t('experiments.none.hint')),
        ui.button(t('experiments.clear'), { onclick: clearFilters }));
    }
    return h('div.empty', null, icon('grid', 40), h('h2', null, t('experiments.empty')), h('p', null, t('experiments.empty.hint')),
      h('a.button.primary', { href: '#/new' }, icon('add', 16), t('experiments.first')));
  }

  function clearFilters() {
    query.q = '';
    search.value = '';
    view.set({ state: '' });
    states.querySelector('input[value=""]').checked = true;
    reload();
  }

  function experimentRow(item) {
    const address = formatHash(['e', item.id]);
    const clusters = clusterCount(item);
    const images = imageCount(item);
    const facts = [
      images !== null && t('n.images', { n: images }),
      clusters !== null && t('n.clusters', { n: clusters }),
    ].filter(Boolean).join(' · ');
    const name = h('a.experiment-name', { href: address, dataset: { part: 'name' } }, item.name || t('unnamed'));
    const keep = h('button.icon-button.keep', {
      type: 'button', 'aria-pressed': String(Boolean(item.keep)), 'aria-label': t('keep'), dataset: { part: 'keep' },
      title: item.keep ? t('keep.on') : t('keep.off'), onclick: () => change(item, { keep: !item.keep }),
    }, icon('keep'));
    const menu = ui.menuButton({ label: t('actions.of', { name: item.name }), items: () => actions(item) });
    menu.dataset.part = 'menu';
    return h('li.experiment-row', { dataset: { id: item.id, state: item.state } },
      pictures(item, clusters),
      h('div.experiment-what', null, name,
        h('div.experiment-sub.muted', null, h('span', null, [notebookWord(item.notebook, i18n), facts].filter(Boolean).join(' · ')),
          (item.tags ?? []).map((tag) => h('button.chip', {
            type: 'button', title: t('experiments.tag', { tag }), onclick: () => {
              search.value = tag;
              query.q = tag;
              reload();
            },
          }, tag)))),
      h('div.experiment-state', null, h('span.state', { dataset: { state: item.state } }, t(`state.${item.state}`)), status(item)),
      h('div.experiment-when.muted', null, h('span', null, i18n.dateTime(item.created_at)),
        h('span', null, [item.owner, elapsed(item) !== null && i18n.duration(elapsed(item))].filter(Boolean).join(' · '))),
      h('div.experiment-actions', null, keep, menu));
  }

  function status(item) {
    if (item.state === 'running' || item.state === 'cancelling') return progressBar(item, i18n);
    if (item.state === 'queued') return h('span.muted', null, item.queue_position ? t('queue.position', { n: item.queue_position }) : t('queue.waiting'));
    if (item.state === 'failed') return h('span.experiment-error', { title: item.error?.message }, t(`error.kind.${item.error?.kind ?? 'unknown'}`));
    const accuracy = item.metrics?.accuracy;
    return Number.isFinite(accuracy) ? h('span.muted', null, t('metric.accuracy.short', { value: i18n.percent(accuracy) })) : null;
  }

  function pictures(item, clusters) {
    const box = h('div.experiment-pictures', { 'aria-hidden': 'true' });
    const known = item.state === 'succeeded' ? Math.min(clusters ?? MINIATURES, MINIATURES) : 0;
    const tiles = item.state === 'running' ? forming.get(item.id) : null;
    for (let k = 0; k < MINIATURES; k += 1) {
      const cell = h('span.mini', null, tiles?.canvases[k]);
      if (k < known) {
        cell.append(h('img', {
          alt: '', loading: 'lazy', decoding: 'async', width: 44, height: 44,
          src: api.artifact(item.id, `results/prototypes/prototype${k}.png`, { thumbnail: 64 }),
          onerror: (event) => event.target.remove(),
        }));
      }
      box.append(cell);
    }
    return box;
  }

  // -- actions ---------------------------------------------------------------------------------------------

  function actions(item) {
    const active = isActive(item);
    return [
      { label: t('open'), icon: 'eye', action: () => router.go(['e', item.id]) },
      { label: t('rename'), icon: 'pencil', action: () => rename(item) },
      { label: t('tags.edit'), icon: 'tag', action: () => editTags(item) },
      '-',
      { label: t('rerun.changes'), icon: 'rotate', action: () => router.go(['new'], { from: item.id }) },
      { label: t('rerun.same'), icon: 'play', action: () => rerun(item) },
      active && { label: t('cancel.run'), icon: 'stop', tone: 'bad', action: () => cancel(item), disabled: item.state === 'cancelling' },
      item.state === 'succeeded' && { label: t('download.all'), icon: 'download', href: api.url(`experiments/${item.id}/results.zip`), download: '' },
      '-',
      { label: t('delete'), icon: 'trash', tone: 'bad', disabled: active, action: () => remove(item) },
    ];
  }

  async function change(item, patch) {
    const at = items.findIndex((one) => one.id === item.id);
    items[at] = { ...item, ...patch };
    draw(true);
    try {
      const now = await api.patch(item.id, patch);
      const index = items.findIndex((one) => one.id === item.id);
      if (index >= 0) items[index] = now;
    } catch (error) {
      items[at] = item;
      ui.failure(error);
    }
    draw(true);
  }

  async function rename(item) {
    const name = await ui.prompt({ title: t('rename'), label: t('name'), value: item.name, yes: t('save') });
    if (name) await change(item, { name });
  }

  async function editTags(item) {
    const text = await ui.prompt({ title: t('tags.edit'), label: t('tags'), value: (item.tags ?? []).join(', '), yes: t('save'), hint: t('tags.hint') });
    if (text === undefined) return;
    await change(item, { tags: [...new Set(text.split(',').map((tag) => tag.trim()).filter(Boolean))] });
  }

  async function cancel(item) {
    try {
      await api.cancel(item.id);
      ui.toast(t('cancel.sent', { name: item.name }));
      refresh();
    } catch (error) {
      ui.failure(error);
    }
  }

  async function rerun(item) {
    try {
      const made = await api.rerun(item.id);
      ui.toast(t('rerun.sent', { name: made.name ?? item.name }), { action: t('open'), onAction: () => router.go(['e', made.id]) });
      reload();
    } catch (error) {
      ui.failure(error);
    }
  }

  /** Out of sight at once, really deleted when the time for "Undo" is over. */
  function remove(item) {
    if (item.keep) {
      ui.toast(t('delete.kept', { name: item.name }), { tone: 'bad' });
      return;
    }
    const really = async () => {
      clearTimeout(gone.get(item.id));
      try {
        await api.fetch('DELETE', `experiments/${item.id}`);
        items = items.filter((one) => one.id !== item.id);
        total = Math.max(0, total - 1);
      } catch (error) {
        ui.failure(error);
      }
      gone.delete(item.id);
      draw(true);
    };
    const at = visible().findIndex((one) => one.id === item.id);
    gone.set(item.id, setTimeout(really, UNDO + 500));
    draw(true);
    const heir = visible()[Math.min(at, visible().length - 1)];
    (drawn.get(heir?.id)?.element.querySelector('[data-part="name"]') ?? scroller).focus({ preventScroll: true });
    ui.toast(t('delete.done', { name: item.name }), {
      action: t('undo'),
      ms: UNDO,
      onAction: () => {
        clearTimeout(gone.get(item.id));
        gone.delete(item.id);
        draw(true);
      },
    });
  }

  /** Leaving the list: what was deleted and not taken back is deleted now. */
  function settle() {
    for (const [id, timer] of gone) {
      clearTimeout(timer);
      fetch(api.url(`experiments/${id}`), { method: 'DELETE', headers: api.headers(), keepalive: true }).catch(() => {});
    }
    gone.clear();
  }

  const searchNow = debounce(() => {
    query.q = search.value.trim();
    reload();
  }, 250);
  ends.listen(search, 'input', searchNow);
  ends.listen(states, 'change', (event) => {
    view.set({ state: event.target.value });
    reload();
  });
  ends.listen(sortSelect, 'change', () => {
    view.set({ sort: sortSelect.value });
    reload();
  });
  let frame = 0;
  ends.listen(scroller, 'scroll', () => {
    frame ||= requestAnimationFrame(() => {
      frame = 0;
      draw();
    });
  }, { passive: true });
  const sizes = new ResizeObserver(() => draw());
  sizes.observe(scroller);
  ends.add(() => sizes.disconnect());
  ends.listen(window, 'pagehide', settle);
  ends.listen(document, 'visibilitychange', listen);
  ends.interval(() => (told && !building) || refresh(), REFRESH);
  ends.interval(refresh, NOW_AND_THEN);
  ends.interval(look, FORMING);
  ends.add(() => {
    refreshSoon.cancel();
    told?.();
    told = null;
  });
  ends.add(settle);
  ends.add(ui.keys.layer(t('experiments.title'), [
    { keys: ['n'], label: t('nav.new'), run: () => router.go(['new']) },
  ]));
  draw();
  reload().then(look);
  listen();
  return { dispose: ends.dispose };
}

const changedItem = (a, b) => JSON.stringify(a) !== JSON.stringify(b) || isActive(b);
