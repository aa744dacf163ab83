// Reading a result table (cluster_by_path.csv) quickly: the columns needed to paint at once, the rest on demand.

/** Split one CSV record into at most `limit` fields; `rest` is what follows them. Quotes as in RFC 4180. */
export function fields(line, limit = Infinity) {
  const out = [];
  let at = 0;
  while (out.length < limit && at <= line.length) {
    if (line[at] === '"') {
      let text = '';
      let from = at + 1;
      let end;
      for (;;) {
        end = line.indexOf('"', from);
        if (end < 0) end = line.length;
        text += line.slice(from, end);
        if (line[end + 1] !== '"') break;
        text += '"';
        from = end + 2;
      }
      out.push(text);
      at = line.indexOf(',', end + 1);
      at = at < 0 ? line.length + 1 : at + 1;
    } else {
      let end = line.indexOf(',', at);
      if (end < 0) end = line.length;
      out.push(line.slice(at, end));
      at = end + 1;
    }
  }
  return { out, rest: at <= line.length ? line.slice(at) : null };
}

/** The records of a CSV text; a quoted field may hold line ends. */
export const records = (text) => [...eachRecord(text)];

function* eachRecord(text) {
  const body = text.charCodeAt(0) === 0xfeff ? text.slice(1) : text;
  const quoted = body.includes('"');
  let at = 0;
  while (at < body.length) {
    let end = body.indexOf('\n', at);
    if (end < 0) end = body.length;
    if (quoted) {
      while (end < body.length && oddQuotes(body, at, end)) {
        const next = body.indexOf('\n', end + 1);
        end = next < 0 ? body.length : next;
      }
    }
    const stop = body.charCodeAt(end - 1) === 13 ? end - 1 : end;
    if (stop > at) yield body.slice(at, stop);
    at = end + 1;
  }
}

function oddQuotes(text, from, to) {
  let count = 0;
  for (let at = text.indexOf('"', from); at >= 0 && at < to; at = text.indexOf('"', at + 1)) count += 1;
  return count % 2 === 1;
}

const DISTANCE = /^dist_cluster_(\d+)$/;
const FIRST = ['image_id', 'path', 'cluster_id', 'distance'];

/**
 * A finished run as columns. Row r of n has `ids[r]` (the image's number, which file names carry), `names[r]`,
 * `labels[r]` (its cluster, 0..k-1) and `distance[r]` (to that cluster's fitted prototype, mean squared error).
 * `to(r, c)` is the distance to any cluster c, NaN where the run did not keep it.
 */
export class Result {
  /** Of what `ExperimentSource.members()` gave. */
  static of(members, options = {}) {
    return new Result(members.table, { ...options, columns: members.columns, images: members.images ?? 'png', masked: members.masked_prototypes });
  }

  /**
   * `k`: number of prototypes where it is known from elsewhere (empty clusters do not show in the table). `columns`:
   * all columns of the run's table when `text` lacks those with distances, for `reading` to bring them. `images`: what
   * the files of images are named with, "png" or "jpg". `masked`: whether prototypes have masks.
   */
  constructor(text, { k = 0, columns = null, images = 'png', masked = false } = {}) {
    const lines = records(text);
    const header = lines.length ? fields(lines[0]).out : [];
    for (const name of ['image_id', 'path', 'cluster_id']) {
      if (!header.includes(name)) throw new Error(`cluster_by_path.csv has no column ${name}`);
    }
    const n = lines.length - 1;
    this.n = n;
    this.ids = new Int32Array(n);
    this.names = new Array(n);
    this.labels = new Int32Array(n);
    this.distance = new Float32Array(n).fill(NaN);
    this.header = columns ?? header;
    this.images = images;
    this.masked = Boolean(masked);
    this._at = Object.fromEntries(FIRST.map((name) => [name, header.indexOf(name)]));
    this._lead = Math.max(...Object.values(this._at)) + 1;
    this._rest = new Array(n);
    let most = -1;
    for (let row = 0; row < n; row += 1) {
      const { out, rest } = fields(lines[row + 1], this._lead);
      this.ids[row] = Number(out[this._at.image_id]);
      this.names[row] = out[this._at.path];
      this.labels[row] = Number(out[this._at.cluster_id]);
      if (this._at.distance >= 0) this.distance[row] = parseNumber(out[this._at.distance]);
      if (this.labels[row] > most) most = this.labels[row];
      this._rest[row] = rest;
    }
    this.rows = new Map();
    for (let row = 0; row < n; row += 1) this.rows.set(this.ids[row], row);
    this._columns = [];
    this._others = [];
    header.forEach((name, at) => {
      const match = DISTANCE.exec(name);
      if (match) this._columns.push([at - this._lead, Number(match[1])]);
      else if (!FIRST.includes(name)) this._others.push([at, name]);
    });
    this.hasAll = this._columns.length > 0;
    const widest = this.header.reduce((max, name) => Math.max(max, Number(DISTANCE.exec(name)?.[1] ?? -1)), -1);
    this.whole = this.hasAll || widest < 0; // are there no distances besides those at hand?
    this.k = Math.max(k, most + 1, widest + 1);
    this._matrix = null;
    this._read = null;
  }

  /** Row of an image id, or undefined. */
  row(id) { return this.rows.get(Number(id)); }

  _view(row) {
    if (!this._matrix) {
      this._matrix = new Float32Array(this.n * this.k).fill(NaN);
      this._read = new Uint8Array(this.n);
    }
    return this._matrix.subarray(row * this.k, (row + 1) * this.k);
  }

  /** All distances of a row: k numbers, read from the text the first time. */
  distances(row) {
    const view = this._view(row);
    if (!this._read[row]) {
      this._read[row] = 1;
      if (this.hasAll && this._rest[row] !== null) {
        const { out } = fields(this._rest[row]);
        for (const [at, cluster] of this._columns) view[cluster] = parseNumber(out[at]);
      }
      if (!Number.isNaN(this.distance[row])) view[this.labels[row]] = this.distance[row];
    }
    return view;
  }

  /** Takes the distances out of the run's whole table, one row at a step; `whole` at the end. */
  * reading(text) {
    const lines = eachRecord(text);
    const header = fields(lines.next().value ?? '').out;
    const id = header.indexOf('image_id');
    const columns = header.flatMap((name, at) => (DISTANCE.test(name) ? [[at, Number(DISTANCE.exec(name)[1])]] : []));
    const last = columns.reduce((most, [at]) => Math.max(most, at), id) + 1;
    for (const line of lines) {
      const { out } = fields(line, last);
      const row = this.row(out[id]);
      if (row === undefined) continue;
      const view = this._view(row);
      this._read[row] = 1;
      for (const [at, cluster] of columns) view[cluster] = parseNumber(out[at]);
      if (!Number.isNaN(this.distance[row])) view[this.labels[row]] = this.distance[row];
      yield row;
    }
    this.hasAll = columns.length > 0;
    this.whole = true;
  }

  to(row, cluster) {
    if (cluster === null || cluster === undefined) return NaN;
    if (cluster === this.labels[row]) return this.distance[row];
    return this.distances(row)[cluster] ?? NaN;
  }

  /** The `count` nearest of the clusters `among` (default: all): [{cluster, distance}], nearest first. */
  nearest(row, count = 3, among = null) {
    const all = this.distances(row);
    const list = [];
    const take = (cluster) => {
      const distance = all[cluster];
      if (!Number.isNaN(distance)) list.push({ cluster, distance });
    };
    if (among) for (const cluster of among) take(cluster);
    else for (let cluster = 0; cluster < this.k; cluster += 1) take(cluster);
    return list.sort((a, b) => a.distance - b.distance || a.cluster - b.cluster).slice(0, count);
  }

  /**
   * How doubtful it is that a row belongs to prototype `own`: own distance over the smallest other distance.
   * 0: no doubt; 1: two clusters fit equally well; above 1: another one fits better. NaN without the distances.
   */
  doubt(row, own = this.labels[row]) {
    if (own === null || own === undefined) return NaN;
    const all = this.distances(row);
    let other = Infinity;
    for (let cluster = 0; cluster < this.k; cluster += 1) {
      if (cluster !== own && all[cluster] < other) other = all[cluster];
    }
    if (!Number.isFinite(other)) return NaN;
    const mine = all[own];
    if (other === 0) return mine === 0 ? 1 : Infinity;
    return mine / other;
  }

  /** Columns besides the usual ones and the distances, e.g. the transformation matrices: {name: text}. */
  others(row) {
    if (!this._others.length || this._rest[row] === null) return {};
    const { out } = fields(this._rest[row]);
    const found = {};
    for (const [at, name] of this._others) if (at >= this._lead) found[name] = out[at - this._lead];
    return found;
  }
}

function parseNumber(text) {
  return text === undefined || text === '' ? NaN : Number(text);
}

/** What files that somebody sent one by one have as their document: it says nothing of where they come from. */
export const UNNAMED = 'upload';

/** The folder of a file name: what images are grouped by when nothing better is known of their source. */
export function folderOf(name) {
  const at = name.lastIndexOf('/');
  return at < 0 ? '' : name.slice(0, at);
}

/** What an image's source is: its document where the run knows it, else its folder. */
export function sourceColumn(result) {
  const named = ['document', 'source'].find((name) => result.header.includes(name));
  if (!named) return (row) => folderOf(result.names[row]);
  const known = new Array(result.n);
  return (row) => (known[row] ??= [result.others(row)[named]].find((one) => one && one !== UNNAMED) ?? folderOf(result.names[row]));
}

/** Counts of `values` in `bins` equal steps between the smallest and the largest. */
export function histogram(values, bins = 24) {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    if (!Number.isFinite(value)) continue;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  const counts = new Array(bins).fill(0);
  if (low > high) return { counts, low: 0, high: 0 };
  const step = (high - low) / bins || 1;
  for (const value of values) {
    if (Number.isFinite(value)) counts[Math.min(bins - 1, Math.floor((value - low) / step))] += 1;
  }
  return { counts, low, high };
}

/** A CSV field; always quoted when it must be, so that any name survives. */
export function csvField(value) {
  const text = value === null || value === undefined ? '' : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** A CSV text with \r\n line ends; `bom` for spreadsheets that guess the encoding. */
export function csvText(rows, { bom = false } = {}) {
  const body = rows.map((row) => row.map(csvField).join(',')).join('\r\n');
  return `${bom ? '\ufeff' : ''}${body}\r\n`;
}
