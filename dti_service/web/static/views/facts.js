// Facts of an experiment's record that several views show.

import { h } from '../lib/dom.js';
import { formatHash } from '../lib/router.js';

export const isActive = (item) => ['queued', 'running', 'cancelling'].includes(item.state);

export const isOver = (item) => ['succeeded', 'failed', 'cancelled'].includes(item.state);

/** Number of clusters: counted by the run, else as asked for; null when neither is known. */
export function clusterCount(item) {
  const found = item.metrics?.n_clusters ?? item.metrics?.n_prototypes ?? item.parameters?.n_prototypes;
  return Number.isFinite(found) ? found : null;
}

export function imageCount(item) {
  const found = item.metrics?.n_images ?? item.metrics?.images ?? item.progress?.images;
  return Number.isFinite(found) ? found : null;
}

/** Seconds that the run took, or has taken so far; null before the start. */
export function elapsed(item, now = Date.now()) {
  if (!item.started_at) return null;
  const end = item.finished_at ? Date.parse(item.finished_at) : now;
  return Math.max(0, (end - Date.parse(item.started_at)) / 1000);
}

/** A bar with its words: "132 of 400 epochs · 5 min left". */
export function progressBar(item, i18n) {
  const { t } = i18n;
  const progress = item.progress ?? {};
  const known = Number.isFinite(progress.total) && progress.total > 0;
  const words = [
    known ? t('progress.of', { step: progress.step ?? 0, total: progress.total, unit: unitWord(progress.unit, i18n) })
      : t('progress.starting'),
    Number.isFinite(progress.eta_s) && progress.eta_s > 0 && t('progress.left', { time: i18n.duration(progress.eta_s) }),
  ].filter(Boolean).join(' · ');
  const bar = h('progress', { max: known ? progress.total : 1, 'aria-label': t('progress') });
  if (known) bar.value = progress.step ?? 0;
  return h('div.progress-line', null, bar, h('span.muted.num', null, words));
}

/** Parameters as lines of facts: what names another run leads there, and no bare id is shown. */
export function parameterFacts(record, { t }) {
  return Object.entries(record.parameters ?? {}).filter(([name, value]) => value !== null && value !== '' && !(name === 'dataset' && record.dataset)).map(([name, value]) => {
    const word = t(`parameter.${name}`);
    const label = word === `parameter.${name}` ? name.replaceAll('_', ' ') : word;
    const [id, reading] = name === 'start_from' || (name === 'experiment' && record.notebook === 'assign_images') ? String(value).split('/') : [];
    if (id) return [label, h('a', { href: formatHash(['e', id], { v: reading }) }, t('begin.link'))];
    return [label, typeof value === 'object' ? JSON.stringify(value) : String(value)];
  });
}

const DATASET_ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** The images of a run in words: the name of its dataset where it has one on this server, else the folder. */
export function datasetFact(record, api, { t }) {
  if (record.dataset === 'sample') return t('images.sample');
  if (!DATASET_ID.test(record.dataset ?? '')) return record.dataset;
  const element = h('span', null, '…');
  api.dataset(record.dataset).then(({ name }) => { element.textContent = name || t('unnamed'); }).catch(() => { element.textContent = record.dataset; });
  return element;
}

/** What kind of run it is, in words where it is one of the usual notebooks. */
export function notebookWord(name, { t }) {
  const word = t(`notebook.${name}`);
  return word === `notebook.${name}` ? name : word;
}

export function unitWord(unit, { t }) {
  const key = `unit.${String(unit ?? '').replace(/s$/, '')}`;
  const word = t(key);
  return word === key ? String(unit ?? '') : word;
}
