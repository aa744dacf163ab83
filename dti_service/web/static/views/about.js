// About a run: figures, curves, parameters, environment, links. Folded away until it is asked for.

import { fill, h } from '../lib/dom.js';
import { barChart, lineChart } from '../lib/chart.js';
import { icon } from '../lib/icons.js';
import { crossTable } from '../logic/order.js';
import { csvText } from '../logic/table.js';
import { datasetFact, elapsed, notebookWord, parameterFacts } from './facts.js';

/** Columns of a tab-separated text: {name: [numbers]}. */
export function readTsv(text) {
  const lines = text.split('\n').filter(Boolean);
  const names = (lines.shift() ?? '').split('\t');
  const columns = Object.fromEntries(names.map((name) => [name, []]));
  for (const line of lines) line.split('\t').forEach((cell, at) => columns[names[at]]?.push(cell === '' ? NaN : Number(cell)));
  return columns;
}

const RATIOS = ['accuracy', 'mean_class_accuracy', 'purity'];
const PLAIN = ['loss', 'nmi', 'ari', 'n_images', 'n_prototypes', 'used_clusters', 'iterations', 'epochs', 'images_per_s', 'duration_s', 'n_labelled'];

export function figures(metrics, { t, i18n }) {
  const lines = [];
  for (const [name, value] of Object.entries(metrics ?? {})) {
    if (!Number.isFinite(value)) continue;
    const label = t(`metric.${name}`);
    const text = RATIOS.includes(name) ? i18n.percent(value) : name === 'duration_s' ? i18n.duration(value) : i18n.number(value, 3);
    if (RATIOS.includes(name) || PLAIN.includes(name)) lines.push([label === `metric.${name}` ? name : label, text]);
  }
  return lines;
}

export const factList = (pairs) => h('dl.facts', null, pairs.filter(([, value]) => value !== null && value !== undefined && value !== '').map(([label, value]) => [h('dt', null, label), h('dd', null, value)]));

export async function aboutPanel(element, view) {
  const { ui, source, record = {} } = view;
  const { t, i18n } = ui;
  const figuresBox = h('div');
  const curveBox = h('div');
  const environmentBox = h('div');
  const show = (value) => (typeof value === 'object' ? JSON.stringify(value) : String(value));
  const link = (href, text, iconName, extra = {}) => h('a.about-link', { href, ...extra }, icon(iconName, 16), text);
  fill(element,
    h('section', null, h('h3', null, t('about.figures')), figuresBox),
    h('section', null, h('h3', null, t('about.curves')), curveBox),
    h('section', null, h('h3', null, t('about.links')), h('div.about-links', null,
      record.links?.view && link(record.links.view, record.notebook.replaceAll('_', ' '), 'open', { target: '_blank', rel: 'noopener' }),
      view.lab && link(`${view.lab}/${source.id}/notebook.ipynb`, t('link.lab'), 'open', { target: '_blank', rel: 'noopener' }),
      link(source.link('report.html'), t('link.report'), 'file', { target: '_blank', rel: 'noopener' }), link(source.link('notebook.html'), t('link.notebook'), 'file', { target: '_blank', rel: 'noopener' }),
      link(source.link('notebook'), t('link.notebook.file'), 'download', { download: '' }), link(source.link('log'), t('link.log'), 'rows', { target: '_blank', rel: 'noopener' }),
      h('a.about-link', { href: `#/new?from=${encodeURIComponent(source.id)}` }, icon('rotate', 16), t('rerun.changes')),
      h('a.about-link', { href: `#/compare?a=${encodeURIComponent(source.id)}` }, icon('compare', 16), t('versus.title')))),
    h('section', null, h('h3', null, t('about.sources')), ui.button(t('cross.open'), { iconName: 'grid', onclick: () => crossDialog(view) })),
    h('section', null, h('h3', null, t('about.run')), factList([
      [t('about.id'), h('code', null, source.id)], [t('about.owner'), record.owner], [t('about.notebook'), record.notebook && notebookWord(record.notebook, ui)], [t('about.dataset'), source.api ? datasetFact(record, source.api, ui) : record.dataset],
      [t('about.started'), i18n.dateTime(record.started_at)], [t('about.duration'), i18n.duration(elapsed(record))], [t('about.device'), record.device], [t('about.attempt'), record.attempt > 1 ? String(record.attempt) : null]])),
    h('section', null, h('h3', null, t('about.parameters')), factList(parameterFacts(record, ui))),
    h('section', null, h('h3', null, t('about.environment')), environmentBox));

  const read = async (path) => {
    try {
      return await source.maybeText(path);
    } catch {
      return null;
    }
  };
  const [metricsText, curves, environment] = await Promise.all(['results/metrics.json', 'results/train_metrics.tsv', 'results/environment.json'].map(read));
  const metrics = { ...record.metrics, ...parse(metricsText) };
  fill(figuresBox, factList(figures(metrics, { t, i18n })), Array.isArray(metrics.cluster_sizes) && barChart({
    label: t('about.sizes'), values: metrics.cluster_sizes, titles: metrics.cluster_sizes.map((n, k) => `${view.session.nameOf(k)}: ${t('n.images', { n })}`) }));
  const columns = readTsv(curves ?? '');
  if (columns.loss?.some(Number.isFinite)) {
    const chart = lineChart({ label: t('chart.loss'), i18n });
    const steps = columns.iteration ?? columns.loss?.map((_, at) => at) ?? [];
    chart.update(steps.map((x, at) => [x, columns.loss?.[at]]));
    fill(curveBox, chart.element);
  } else fill(curveBox, h('p.muted', null, t('about.nocurves')));
  const facts = parse(environment);
  fill(environmentBox, Object.keys(facts).length ? factList(Object.entries(facts).flatMap(([name, value]) => (name === 'packages' ? Object.entries(value) : name === 'skipped' ? [] : [[name, show(value)]]))) : h('p.muted', null, t('about.noenvironment')));
}

function parse(text) {
  try {
    return JSON.parse(text ?? '{}') ?? {};
  } catch {
    return {};
  }
}

/** In which sources does each cluster appear? A table on screen and as csv. */
function crossDialog(view) {
  const { ui, curation } = view;
  const { t, i18n } = ui;
  const table = crossTable(curation, view.sourceOf);
  const head = [t('cross.cluster'), ...table.sources.map((name) => name || t('cross.nosource')), t('cross.total')];
  return ui.dialog({
    title: t('cross.title'),
    className: 'wide',
    build: (body) => {
      fill(body, h('div.table-scroll', { tabindex: 0, role: 'region', 'aria-label': t('cross.title') }, h('table.cross', null,
        h('thead', null, h('tr', null, head.map((name) => h('th', { scope: 'col' }, name)))),
        h('tbody', null, table.rows.map(({ id, counts, total }) => h('tr', null, h('th', { scope: 'row' }, curation.name(id)), counts.map((n) => h('td.num', { class: n ? '' : 'zero' }, n ? i18n.number(n) : '·')), h('td.num', null, h('strong', null, i18n.number(total)))))),
        h('tfoot', null, h('tr', null, h('th', { scope: 'row' }, t('cross.total')), table.totals.map((n) => h('td.num', null, i18n.number(n))), h('td.num', null, h('strong', null, i18n.number(curation.result.n))))))));
      return { footer: [ui.button(t('cross.csv'), { iconName: 'download', onclick: () => {
        const text = csvText([head, ...table.rows.map(({ id, counts, total }) => [curation.name(id), ...counts, total])], { bom: true });
        const address = URL.createObjectURL(new Blob([text], { type: 'text/csv' }));
        h('a', { href: address, download: 'clusters-by-source.csv' }).click();
        setTimeout(() => URL.revokeObjectURL(address), 10000);
      } })] };
    },
  });
}
