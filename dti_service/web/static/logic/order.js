// In which order clusters and images are shown, and which are shown at all.

import { UNSORTED } from './curation.js';
import { folderOf } from './table.js';

export const IMAGE_ORDERS = ['best', 'worst', 'doubt', 'source'];
export const CLUSTER_ORDERS = ['given', 'size', 'name', 'spread'];

/** A copy of `rows` in order; by source means: by name within each source. Unknown distances come last whichever the direction. */
export function sortImages(rows, by, { distance, doubt, name, source, compare = defaultCompare }) {
  const list = Array.from(rows);
  if (by === 'source') return list.sort((a, b) => compare(source(a), source(b)) || compare(name(a), name(b)) || a - b);
  const value = new Map();
  const key = by === 'doubt' ? doubt : distance;
  for (const row of list) value.set(row, key(row));
  const sign = by === 'best' ? 1 : -1;
  return list.sort((a, b) => {
    const [x, y] = [value.get(a), value.get(b)];
    if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y) || a - b;
    return sign * (x - y) || a - b;
  });
}

function defaultCompare(a, b) {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** The unsorted come last whatever the order. */
export function sortClusters(curation, by, options) {
  const ids = sorted(curation, by, options);
  return curation.has(UNSORTED) ? [...ids.filter((id) => id !== UNSORTED), UNSORTED] : ids;
}

function sorted(curation, by, { compare = defaultCompare } = {}) {
  const ids = [...curation.order];
  if (by === 'size') return stable(ids, (id) => -curation.members(id).length);
  if (by === 'spread') return stable(ids, (id) => -median(curation.members(id).map((row) => curation.distance(row))));
  if (by === 'name') return ids.sort((a, b) => compare(curation.name(a), curation.name(b)));
  return ids;
}

function stable(ids, key) {
  const value = new Map(ids.map((id) => [id, key(id)]));
  const rank = new Map(ids.map((id, at) => [id, at]));
  return ids.sort((a, b) => {
    const [x, y] = [value.get(a), value.get(b)];
    if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y) || rank.get(a) - rank.get(b);
    return x - y || rank.get(a) - rank.get(b);
  });
}

export function median(values) {
  const known = values.filter(Number.isFinite).sort((a, b) => a - b);
  if (!known.length) return NaN;
  const middle = known.length >> 1;
  return known.length % 2 ? known[middle] : (known[middle - 1] + known[middle]) / 2;
}

/**
 * Keep the order under the user's hand: `shown` as it was, without those that left; those that came stand first.
 */
export function keepOrder(shown, members) {
  const now = new Set(members);
  const kept = shown.filter((row) => now.has(row));
  const old = new Set(kept);
  const fresh = members.filter((row) => !old.has(row));
  return fresh.length ? fresh.concat(kept) : kept;
}

/**
 * A test for images: words in name, cluster, note or tags; a source; a tag; a cluster; only moved, noted or doubtful
 * ones; and `facets`, {column: value} or {column: {from, to}} in years, for what else the run's table says of them.
 */
export function imageFilter({ text = '', source = '', tag = '', only = '', cluster: wanted = '', facets = {} }, curation, sourceOf = null) {
  const words = fold(text).split(/\s+/).filter(Boolean);
  const columns = Object.entries(facets).filter(([, value]) => (typeof value === 'object' ? value.from || value.to : value));
  if (!words.length && !source && !tag && !only && !wanted && !columns.length) return null;
  const { names } = curation.result;
  const whence = sourceOf ?? ((row) => folderOf(names[row]));
  return (row) => {
    if (source && whence(row) !== source) return false;
    if (wanted && curation.place[row] !== wanted) return false;
    if (columns.length) {
      const others = curation.result.others(row);
      if (!columns.every(([column, value]) => (typeof value === 'object' ? within(others[column], value) : (others[column] ?? '') === value))) return false;
    }
    const image = curation.image(row);
    if (tag && !image.tags.includes(tag)) return false;
    if (only === 'moved' && !curation.moved(row)) return false;
    if (only === 'noted' && !image.note && !image.tags.length) return false;
    if (only === 'unfit' && !isUnfit(curation.result, row)) return false;
    if (only === 'doubtful' && !(curation.doubt(row) > 0.9)) return false;
    if (!words.length) return true;
    const cluster = curation.name(curation.place[row]);
    const hay = fold(`${names[row]} ${cluster} ${image.note} ${image.tags.join(' ')} ${whence(row)}`);
    return words.every((word) => hay.includes(word));
  };
}

/** Does an image lie further from its prototype than any did when the model was trained? Only `assign` can tell. */
export const isUnfit = (result, row) => /^false$/i.test(result.others(row).fits ?? '');

/** The first and the last year that a text names: "s. XV (1480-1492)" is 1480 to 1492; null without any. */
export function years(text) {
  const found = (String(text ?? '').match(/(?<!\d)\d{3,4}(?!\d)/g) ?? []).map(Number);
  return found.length ? [Math.min(...found), Math.max(...found)] : null;
}

function within(text, { from, to }) {
  const found = years(text);
  return found !== null && (!from || found[1] >= Number(from)) && (!to || found[0] <= Number(to));
}

const DATES = /^(date|dates|year|years|dating|datation|année)$/i;

/**
 * What of the table images can be filtered by: [{column, values: [[value, count]], dates}], columns with few values
 * and columns of dates. `without`: columns that have a filter of their own.
 */
export function facetsOf(result, without = [], most = 200) {
  const columns = result.header.filter((name) => !without.includes(name) && !/^(image_id|path|cluster_id|distance|crop|page|dist_cluster_\d+|matrix_.*)$/.test(name));
  if (!columns.length) return [];
  const counts = new Map(columns.map((name) => [name, new Map()]));
  for (let row = 0; row < result.n; row += 1) {
    const others = result.others(row);
    for (const [name, values] of counts) {
      const value = others[name] ?? '';
      if (value && values.size <= result.n) values.set(value, (values.get(value) ?? 0) + 1);
    }
  }
  return [...counts].map(([column, values]) => ({ column, values: [...values], dates: DATES.test(column) && [...values.keys()].some(years) }))
    .filter(({ values, dates }) => dates || (values.length > 1 && values.length <= most));
}

/** Lower case without accents, so that "evangile" finds "Évangile". */
export function fold(text) {
  return text.normalize('NFD').replace(/\p{M}/gu, '').toLowerCase();
}

/**
 * The members of a cluster that lie far off: farther than the upper quartile by one and a half times the distance
 * between the quartiles (Tukey, Exploratory Data Analysis, 1977). Fewer than eight images have no outliers.
 */
export function outliers(curation, id) {
  const known = curation.members(id).filter((row) => Number.isFinite(curation.distance(row)));
  if (known.length < 8) return [];
  const values = known.map((row) => curation.distance(row)).sort((a, b) => a - b);
  const quartile = (share) => {
    const at = share * (values.length - 1);
    const below = Math.floor(at);
    return values[below] + (at - below) * ((values[below + 1] ?? values[below]) - values[below]);
  };
  const fence = quartile(0.75) + 1.5 * (quartile(0.75) - quartile(0.25));
  return known.filter((row) => curation.distance(row) > fence);
}

/** A table of cluster by source: {sources, rows: [{id, counts, total}], totals}. */
export function crossTable(curation, sourceOf) {
  const sources = new Map();
  for (let row = 0; row < curation.result.n; row += 1) {
    const source = sourceOf(row);
    if (!sources.has(source)) sources.set(source, sources.size);
  }
  const names = [...sources.keys()].sort(defaultCompare);
  const column = new Map(names.map((name, at) => [name, at]));
  const rows = curation.order.map((id) => {
    const counts = new Array(names.length).fill(0);
    for (const row of curation.members(id)) counts[column.get(sourceOf(row))] += 1;
    return { id, counts, total: curation.members(id).length };
  });
  const totals = names.map((_, at) => rows.reduce((sum, { counts }) => sum + counts[at], 0));
  return { sources: names, rows, totals };
}

/**
 * A proposal for "make two of these": 2-means on what the run knows of the images, their distances to every
 * prototype (each column scaled to unit variance). Gives the smaller of the two groups.
 */
export function proposeSplit(result, rows, steps = 25) {
  if (rows.length < 2 || !result.hasAll) return [];
  const k = result.k;
  const points = rows.map((row) => Float64Array.from(result.distances(row), (value) => (Number.isNaN(value) ? 0 : value)));
  for (let c = 0; c < k; c += 1) {
    const mean = points.reduce((sum, point) => sum + point[c], 0) / points.length;
    const variance = points.reduce((sum, point) => sum + (point[c] - mean) ** 2, 0) / points.length;
    const scale = variance > 0 ? 1 / Math.sqrt(variance) : 0;
    for (const point of points) point[c] = (point[c] - mean) * scale;
  }
  const square = (a, b) => a.reduce((sum, value, c) => sum + (value - b[c]) ** 2, 0);
  const farthest = (from) => points.reduce((best, point) => (square(point, from) > square(best, from) ? point : best), points[0]);
  let one = Float64Array.from(farthest(new Float64Array(k)));
  let two = Float64Array.from(farthest(one));
  let side = [];
  for (let step = 0; step < steps; step += 1) {
    const next = points.map((point) => square(point, two) < square(point, one));
    if (side.length && next.every((value, at) => value === side[at])) break;
    side = next;
    for (const [value, centre] of [[false, one], [true, two]]) {
      const group = points.filter((_, at) => side[at] === value);
      if (!group.length) continue;
      centre.fill(0);
      for (const point of group) point.forEach((x, c) => { centre[c] += x / group.length; });
    }
  }
  const second = rows.filter((_, at) => side[at]);
  const first = rows.filter((_, at) => !side[at]);
  return second.length <= first.length ? second : first;
}

/**
 * The images most like `row` over the whole set: those that lie alike from every prototype. Rows with a score,
 * nearest first; empty when the run kept no distances.
 */
export function similar(result, row, count = 60) {
  if (!result.hasAll) return [];
  const own = result.distances(row);
  const scores = [];
  for (let other = 0; other < result.n; other += 1) {
    if (other === row) continue;
    const all = result.distances(other);
    let sum = 0;
    for (let c = 0; c < result.k; c += 1) {
      const difference = own[c] - all[c];
      if (!Number.isNaN(difference)) sum += difference * difference;
    }
    scores.push({ row: other, score: Math.sqrt(sum) });
  }
  return scores.sort((a, b) => a.score - b.score).slice(0, count);
}

/** The most doubtful images of the whole set, the most doubtful first. */
export function doubtfulQueue(curation, count = 50) {
  const list = [];
  for (let row = 0; row < curation.result.n; row += 1) {
    const doubt = curation.doubt(row);
    if (!Number.isNaN(doubt)) list.push({ row, doubt });
  }
  return list.sort((a, b) => b.doubt - a.doubt || a.row - b.row).slice(0, count).map(({ row }) => row);
}
