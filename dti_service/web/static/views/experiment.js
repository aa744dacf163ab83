// One experiment: its run while it lasts, its result from the moment there is one, in the same place.

import { ExperimentSource } from '../lib/api.js';
import { Distances } from '../lib/distances.js';
import { disposer, fill, h } from '../lib/dom.js';
import { icon } from '../lib/icons.js';
import { Result } from '../logic/table.js';
import { ResultView } from './result.js';

export function mount(element, context, { id, route }) {
  const { api, ui, t, title, router } = context;
  const source = new ExperimentSource(api, id);
  const ends = disposer();
  let inner = null;
  let gone = false;
  let place = route;

  const author = fetch(new URL('../api/me', api.base), { headers: api.headers(), credentials: 'same-origin' })
    .then((answer) => (answer.ok ? answer.json() : {})).then((me) => nameOf(me.identity ?? {})).catch(() => '');

  title(t('experiment'));
  fill(element, h('div.page.loading', { role: 'status' }, h('span.visually-hidden', null, t('loading')), h('div.skeleton.line'), h('div.skeleton.block'), h('div.skeleton.block')));
  const wanted = place.query.v ? source.curation(place.query.v).catch(() => null) : Promise.resolve(null);
  load();

  async function load() {
    try {
      const record = await source.record();
      if (gone) return;
      const members = record.state === 'succeeded' ? await source.members() : null;
      api.early.clear(); // what was answered while it ran says nothing about how it ends
      await show(record, members);
    } catch (error) {
      if (!gone) failed(error);
    }
  }

  function failed(error) {
    title(t('error.load'));
    fill(element, h('div.empty', null, icon('warning', 34), h('h1', null, t(error.status === 404 ? 'experiment.gone' : 'error.load')),
      h('p', null, error.status === 404 ? t('experiment.gone.hint') : error.status === 0 ? t('error.offline') : error.message),
      h('div.actions', null, ui.button(t('retry'), { onclick: load }), h('a.button', { href: '#/' }, t('nav.experiments')))));
  }

  async function show(record, members) {
    if (members) await showResult(record, members);
    else await showRun(record);
  }

  async function showRun(record) {
    const { RunView } = await import('./run.js');
    if (gone) return;
    inner?.dispose();
    fill(element);
    element.className = '';
    inner = new RunView(element, { ...context, source, record, onDone: become, onPartial: partial });
  }

  /** The run has ended well: the result takes its place. */
  async function become(record) {
    const members = await source.members().catch(() => null);
    if (gone || !members) return false;
    ui.announce(t('run.done', { name: record.name }), { now: true });
    await showResult(record, members);
    return true;
  }

  async function partial(record) {
    const members = await source.members().catch(() => null);
    if (!members) return false;
    await showResult(record, members);
    return true;
  }

  async function showResult(record, members) {
    let result;
    try {
      result = Result.of(members, { k: record.metrics?.n_prototypes ?? 0 });
    } catch (error) {
      failed(error);
      return;
    }
    const variant = await wanted;
    if (gone) return;
    inner?.dispose();
    fill(element);
    title(record.name || t('unnamed'));
    if (place.path[2] === 'sheet') {
      const { mountSheet } = await import('./sheet.js');
      if (variant) await new Distances(result, source).all(); // of the images that were moved
      inner = mountSheet(element, { ui, source, result, record, variant: variant ? place.query.v : null, document: variant?.document ?? null });
      return;
    }
    const view = new ResultView(element, {
      ui, source, result, record, author, masked: result.masked, lab: document.querySelector('meta[name="dti-lab"]')?.content ?? '', linked: DATASET_ID.test(record.dataset ?? ''),
      originals: originals(api, record, result), go: (path, query) => router.go(path, query),
      onRename: (name) => api.patch(id, { name }).then((now) => {
        title(now.name);
        return now;
      }),
      onPlace: ({ cluster, image, variant: shown }, { push }) => {
        const path = ['e', id, ...(image !== null ? ['i', String(image)] : cluster !== null ? ['c', String(cluster)] : [])];
        const query = shown ? { v: shown } : {};
        if (push) router.push(path, query);
        else router.replace(path, query);
      },
    });
    inner = view;
    ends.add(() => view.dispose());
    context.onResult?.(view);
    if (variant) view.session.adopt(place.query.v, variant);
    else if (place.query.v) ui.toast(t('variant.gone', { name: place.query.v }), { tone: 'bad' });
    element.dataset.ready = 'result';
    view.goToPlace(placeOf(place));
  }

  return {
    /** The address changed within this experiment: go there instead of beginning anew. */
    update(next) {
      if (!(inner instanceof ResultView) || next.path[2] === 'sheet' || place.path[2] === 'sheet') return false;
      const before = place;
      place = next;
      const variant = next.query.v ?? null;
      if (variant !== inner.session.name && variant !== (before.query.v ?? null)) inner.openVariant(variant);
      inner.goToPlace(placeOf(next));
      return true;
    },
    dispose() {
      gone = true;
      delete element.dataset.ready;
      if (!(inner instanceof ResultView)) inner?.dispose();
      ends.dispose();
    },
  };
}

/** Who is reading. A server with a token and no accounts makes up a new "Anonymous ..." at each visit: that is nobody. */
function nameOf({ display_name: shown = '', name = '' }) {
  return /^Anonymous /.test(shown) ? '' : shown || name;
}

function placeOf({ path }) {
  return { cluster: path[2] === 'c' ? path[3] : null, image: path[2] === 'i' ? path[3] : null };
}

const DATASET_ID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** The same for a run that read a folder: what it noted of its files; the server says whether they are still there. */
function fromFolder(api, id) {
  const source = new ExperimentSource(api, id);
  let known = null;
  return async (row, number) => {
    known ??= source.maybeText('results/original.json').then((text) => JSON.parse(text ?? 'null')?.images ?? {});
    const file = (await known)[number];
    return file?.path ? { address: source.original(number), format: 'PNG', width: file.width, height: file.height } : null;
  };
}

/**
 * What the dataset of this server knows of an image: (row, number) -> Promise of {address, source, width, height} or null.
 * Null altogether when the run did not read a dataset of this server.
 */
function originals(api, record, result) {
  const dataset = record.dataset ?? record.parameters?.dataset ?? '';
  if (!DATASET_ID.test(dataset)) return fromFolder(api, record.id);
  let known = null;
  const read = async () => {
    const found = new Map();
    let cursor = null;
    do {
      const page = await api.get(`datasets/${dataset}/images`, { limit: 1000, cursor });
      for (const item of page.items) found.set(item.file, item);
      cursor = page.next_cursor;
    } while (cursor);
    return found;
  };
  return async (row) => {
    known ??= read();
    const item = (await known).get(result.names[row]);
    return item ? { ...item, format: 'PNG', address: api.url(`experiments/${record.id}/originals/${result.ids[row]}`) } : null;
  };
}
