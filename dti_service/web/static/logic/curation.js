// A curated reading of a result: the raw clusters and a list of reversible operations on them.
//
// Every operation carries what was before and what is after, so that undo and redo walk the list for ever, also
// after a reload. Nothing is changed in the raw result. Distances are looked up, never made up: a cluster stands
// for one prototype of the run (or none), and an image's distance is its distance to that prototype.

export const UNSORTED = 'unsorted';
export const STATES = ['to_see', 'checked', 'doubtful'];
export const SCHEMA_VERSION = 1;

/** Names for what a person does; each has a sentence in the history ("history.<kind>"). */
export const KINDS = [
  'rename', 'move', 'merge', 'split', 'create', 'remove', 'state', 'note', 'tags', 'image_note', 'image_tags',
  'review', 'prototype',
];

const plain = (value) => JSON.parse(JSON.stringify(value));

/** An empty document for a run of k clusters. */
export function newDocument({ title, author = '', note = '', copiedFrom = null, now = new Date() }) {
  const time = now.toISOString();
  return {
    schema_version: SCHEMA_VERSION, title, author, note, copied_from: copiedFrom, created_at: time, updated_at: time,
    operations: [], cursor: 0,
  };
}

export class Curation {
  /**
   * `result`: {n, k, ids, labels} as `Result`. `document`: a saved one, or null for the raw result.
   * `nameOf(k)`: what cluster k is called until somebody names it.
   */
  constructor(result, document = null, { nameOf = (k) => String(k), author = '', clock = () => new Date() } = {}) {
    this.result = result;
    this.nameOf = nameOf;
    this.author = author;
    this.clock = clock;
    this.clusters = new Map();
    this.order = [];
    this.images = new Map();
    this.place = new Array(result.n);
    for (let k = 0; k < result.k; k += 1) {
      this.clusters.set(String(k), this._fresh({ prototype: k, origin: [k] }));
      this.order.push(String(k));
    }
    for (let row = 0; row < result.n; row += 1) {
      const id = String(result.labels[row]);
      this.place[row] = id;
      this.clusters.get(id).members.push(row);
    }
    this.meta = document ? { ...document } : newDocument({ title: '', author });
    delete this.meta.operations;
    delete this.meta.cursor;
    delete this.meta.state;
    this.operations = [];
    this.cursor = 0;
    const saved = document?.operations ?? [];
    for (const operation of saved.slice(0, document?.cursor ?? saved.length)) {
      this._do(operation);
      this.operations.push(operation);
    }
    this.cursor = this.operations.length;
    this.operations.push(...saved.slice(this.cursor));
  }

  _fresh({ name = null, prototype = null, origin = [], state = 'to_see', note = '', tags = [] } = {}) {
    return { name, prototype, origin, state, note, tags, members: [] };
  }

  // -- reading ---------------------------------------------------------------------------------------------

  has(id) { return this.clusters.has(id); }
  cluster(id) { return this.clusters.get(id); }
  members(id) { return this.clusters.get(id)?.members ?? []; }

  /** The name shown; a raw cluster has one of its own. */
  name(id) {
    const cluster = this.clusters.get(id);
    if (!cluster) return this.nameOf(id);
    return cluster.name ?? this.nameOf(cluster.origin.length ? cluster.origin[0] : id);
  }

  image(row) {
    return this.images.get(row) ?? { note: '', tags: [], reviewed: false };
  }

  /** Distance of an image to the prototype that its cluster stands for; NaN where there is none. */
  distance(row) {
    return this.result.to(row, this.clusters.get(this.place[row])?.prototype);
  }

  doubt(row) {
    return this.result.doubt(row, this.clusters.get(this.place[row])?.prototype);
  }

  moved(row) { return this.place[row] !== String(this.result.labels[row]); }

  /** Cluster that stands for prototype k now (the one it began as, or the one that took it over), or null. */
  home(k) {
    const own = this.clusters.get(String(k));
    if (own && own.prototype === k) return String(k);
    for (const id of this.order) if (this.clusters.get(id).prototype === k) return id;
    return null;
  }

  /** The nearest clusters as they are now: [{id, prototype, distance}], nearest first. */
  nearest(row, count = 3) {
    const homes = new Map();
    for (const id of this.order) {
      const { prototype } = this.clusters.get(id);
      if (prototype !== null && !homes.has(prototype)) homes.set(prototype, id);
    }
    return this.result.nearest(row, count, homes.keys())
      .map(({ cluster, distance }) => ({ id: homes.get(cluster), prototype: cluster, distance }));
  }

  counts() {
    const counts = { to_see: 0, checked: 0, doubtful: 0 };
    for (const cluster of this.clusters.values()) counts[cluster.state] += 1;
    return counts;
  }

  get dirty() { return this.cursor > 0; }
  get canUndo() { return this.cursor > 0; }
  get canRedo() { return this.cursor < this.operations.length; }

  // -- doing -----------------------------------------------------------------------------------------------

  /** Carry out a new operation; gives it, or null when it would change nothing. */
  perform(kind, data, changes) {
    if (!changes.length) return null;
    const operation = {
      kind, at: this.clock().toISOString(), by: this.author, data: plain(data), changes: plain(changes),
    };
    this._do(operation);
    this.operations.length = this.cursor;
    this.operations.push(operation);
    this.cursor += 1;
    this.meta.updated_at = operation.at;
    return operation;
  }

  undo() {
    if (!this.canUndo) return null;
    this.cursor -= 1;
    const operation = this.operations[this.cursor];
    for (const change of [...operation.changes].reverse()) this._apply(invert(change));
    this.meta.updated_at = this.clock().toISOString();
    return operation;
  }

  redo() {
    if (!this.canRedo) return null;
    const operation = this.operations[this.cursor];
    this._do(operation);
    this.cursor += 1;
    this.meta.updated_at = this.clock().toISOString();
    return operation;
  }

  /** Walk to the state after the first `cursor` operations. */
  goTo(cursor) {
    const touched = [];
    while (this.cursor > cursor && this.canUndo) touched.push(this.undo());
    while (this.cursor < cursor && this.canRedo) touched.push(this.redo());
    return touched;
  }

  _do(operation) {
    for (const change of operation.changes) this._apply(change);
  }

  _apply(change) {
    if (change.type === 'move') this._applyMove(change);
    else if (change.type === 'cluster') this._applyCluster(change);
    else if (change.type === 'image') this._applyImage(change);
    else throw new Error(`unknown change ${change.type}`);
  }

  _applyMove({ images, from, to }) {
    const rows = images.map((id) => this.result.row(id));
    const lost = new Map();
    rows.forEach((row, at) => {
      const source = Array.isArray(from) ? from[at] : from;
      if (!lost.has(source)) lost.set(source, new Set());
      lost.get(source).add(row);
    });
    for (const [id, gone] of lost) {
      const cluster = this.clusters.get(id);
      cluster.members = cluster.members.filter((row) => !gone.has(row));
    }
    const gained = new Map();
    rows.forEach((row, at) => {
      const target = Array.isArray(to) ? to[at] : to;
      this.place[row] = target;
      if (!gained.has(target)) gained.set(target, []);
      gained.get(target).push(row);
    });
    for (const [id, list] of gained) {
      const cluster = this.clusters.get(id);
      cluster.members = cluster.members.concat(list);
    }
  }

  _applyCluster({ id, before, after, at }) {
    if (after === null) {
      this.clusters.delete(id);
      this.order.splice(this.order.indexOf(id), 1);
    } else if (before === null) {
      this.clusters.set(id, this._fresh(after));
      this.order.splice(at ?? this.order.length, 0, id);
    } else {
      const cluster = this.clusters.get(id);
      const { members } = cluster;
      Object.assign(cluster, after);
      cluster.members = members;
    }
  }

  _applyImage({ image, after }) {
    const row = this.result.row(image);
    const value = { note: '', tags: [], reviewed: false, ...after };
    if (!value.note && !value.tags.length && !value.reviewed) this.images.delete(row);
    else this.images.set(row, value);
  }

  // -- what a person can do; each gives the operation, or null when nothing would change --------------------

  _without(rows, target) {
    return [...rows].filter((row) => this.place[row] !== target);
  }

  _moveChange(rows, to) {
    const from = rows.map((row) => this.place[row]);
    const one = from.every((id) => id === from[0]);
    return { type: 'move', images: rows.map((row) => this.result.ids[row]), from: one ? from[0] : from, to };
  }

  _clusterChange(id, change) {
    const cluster = this.clusters.get(id);
    const before = Object.fromEntries(Object.keys(change).map((key) => [key, cluster[key]]));
    return { type: 'cluster', id, before, after: change };
  }

  _createChange(id, fields, at) {
    return { type: 'cluster', id, before: null, after: { ...fields }, at };
  }

  _removeChange(id) {
    const { name, prototype, origin, state, note, tags } = this.clusters.get(id);
    return {
      type: 'cluster', id, before: { name, prototype, origin, state, note, tags }, after: null,
      at: this.order.indexOf(id),
    };
  }

  newId() {
    let number = 1;
    const used = new Set(this.operations.flatMap((one) => one.changes.filter((c) => c.type === 'cluster').map((c) => c.id)));
    while (used.has(`new-${number}`) || this.clusters.has(`new-${number}`)) number += 1;
    return `new-${number}`;
  }

  rename(id, name) {
    const text = name.trim();
    if (!text || text === this.name(id)) return null;
    return this.perform('rename', { cluster: id, from: this.name(id), to: text }, [this._clusterChange(id, { name: text })]);
  }

  move(rows, to) {
    const list = this._without(rows, to);
    if (!list.length || (!this.clusters.has(to) && to !== UNSORTED)) return null;
    const changes = [];
    if (to === UNSORTED && !this.clusters.has(UNSORTED)) changes.push(this._createChange(UNSORTED, {}, this.order.length));
    const sources = [...new Set(list.map((row) => this.place[row]))];
    changes.push(this._moveChange(list, to));
    const data = { n: list.length, from: sources.length === 1 ? this.name(sources[0]) : null, to: this._label(to) };
    return this.perform('move', data, changes);
  }

  _label(id) { return id === UNSORTED && !this.clusters.has(id) ? this.nameOf(UNSORTED) : this.name(id); }

  /** A new cluster, placed after the cluster `beside`, holding `rows`. Gives {operation, id}. */
  create(rows, { name, beside = null, prototype = null, kind = 'create' } = {}) {
    const id = this.newId();
    const list = [...rows];
    const at = beside && this.order.includes(beside) ? this.order.indexOf(beside) + 1 : this.order.length;
    const changes = [this._createChange(id, { name, prototype }, at)];
    if (list.length) changes.push(this._moveChange(list, id));
    const data = { n: list.length, to: name, from: beside ? this.name(beside) : null };
    return { operation: this.perform(kind, data, changes), id };
  }

  /** Split: `rows` of the cluster leave it for a new one, which stands for the same prototype. */
  split(id, rows, name) {
    const inside = [...rows].filter((row) => this.place[row] === id);
    if (!inside.length || inside.length === this.members(id).length) return { operation: null, id: null };
    return this.create(inside, { name, beside: id, prototype: this.clusters.get(id).prototype, kind: 'split' });
  }

  /** All images of `from` go to `into`, which survives with `name` and `prototype`; `from` is removed. */
  merge(from, into, { name = this.name(into), prototype = this.clusters.get(into).prototype } = {}) {
    if (from === into) return null;
    const changes = [];
    const rows = this.members(from);
    if (rows.length) changes.push(this._moveChange(rows, into));
    const data = { from: this.name(from), to: this.name(into), name, n: rows.length };
    const target = this.clusters.get(into);
    const change = { origin: [...new Set([...target.origin, ...this.clusters.get(from).origin])] };
    if (name !== this.name(into)) change.name = name;
    if (prototype !== target.prototype) change.prototype = prototype;
    changes.push(this._clusterChange(into, change), this._removeChange(from));
    return this.perform('merge', data, changes);
  }

  /** Remove clusters that hold no image. */
  removeEmpty(ids = this.order) {
    const empty = ids.filter((id) => this.clusters.get(id)?.members.length === 0);
    const names = empty.map((id) => this.name(id));
    // From the last to the first, so that the places noted for undo are right.
    const changes = [...empty].sort((a, b) => this.order.indexOf(b) - this.order.indexOf(a)).map((id) => this._removeChange(id));
    return this.perform('remove', { n: empty.length, names }, changes);
  }

  setState(id, state) {
    if (!STATES.includes(state) || this.clusters.get(id).state === state) return null;
    return this.perform('state', { cluster: this.name(id), to: state }, [this._clusterChange(id, { state })]);
  }

  setNote(id, note) {
    if (this.clusters.get(id).note === note) return null;
    return this.perform('note', { cluster: this.name(id), text: note }, [this._clusterChange(id, { note })]);
  }

  setTags(id, tags) {
    if (this.clusters.get(id).tags.join('\n') === tags.join('\n')) return null;
    return this.perform('tags', { cluster: this.name(id), tags }, [this._clusterChange(id, { tags })]);
  }

  _imageChange(row, change) {
    const before = plain(this.image(row));
    return { type: 'image', image: this.result.ids[row], before, after: { ...before, ...change } };
  }

  noteImages(rows, note) {
    const list = [...rows].filter((row) => this.image(row).note !== note);
    return this.perform('image_note', { n: list.length, text: note }, list.map((row) => this._imageChange(row, { note })));
  }

  /** Add and remove tags of images. */
  tagImages(rows, { add = [], remove = [] }) {
    const changes = [];
    for (const row of rows) {
      const old = this.image(row).tags;
      const tags = [...new Set([...old.filter((tag) => !remove.includes(tag)), ...add])];
      if (tags.join('\n') !== old.join('\n')) changes.push(this._imageChange(row, { tags }));
    }
    return this.perform('image_tags', { n: changes.length, add, remove }, changes);
  }

  /** A doubtful image was looked at: it stays, or goes to another cluster. */
  review(row, to = null) {
    const changes = [];
    const from = this.place[row];
    if (!this.image(row).reviewed) changes.push(this._imageChange(row, { reviewed: true }));
    if (to === UNSORTED && !this.clusters.has(UNSORTED)) changes.push(this._createChange(UNSORTED, {}, this.order.length));
    if (to && to !== from) changes.push(this._moveChange([row], to));
    const data = { n: 1, image: this.result.names[row], from: this.name(from), to: to && to !== from ? this._label(to) : null };
    return this.perform('review', data, changes);
  }

  // -- writing -----------------------------------------------------------------------------------------------

  /** What is saved: the operations, and beside them the state they lead to, for readers that do not replay. */
  toDocument() {
    const clusters = this.order.map((id) => {
      const { name, prototype, origin, state, note, tags, members } = this.clusters.get(id);
      return { id, name: name ?? this.name(id), named: name !== null, prototype, origin, state, note, tags, size: members.length };
    });
    const moved = {};
    for (let row = 0; row < this.result.n; row += 1) if (this.moved(row)) moved[this.result.ids[row]] = this.place[row];
    const images = {};
    for (const [row, value] of this.images) images[this.result.ids[row]] = value;
    return {
      ...this.meta,
      schema_version: SCHEMA_VERSION,
      operations: this.operations,
      cursor: this.cursor,
      state: { clusters, moved, images },
    };
  }
}

function invert(change) {
  if (change.type === 'move') return { ...change, from: change.to, to: change.from };
  return { ...change, before: change.after, after: change.before };
}

/** Which clusters an operation touches: they are what has to be drawn anew. */
export function touchedClusters(operation) {
  const ids = new Set();
  for (const change of operation.changes) {
    if (change.type === 'move') for (const id of [change.from, change.to].flat()) ids.add(id);
    if (change.type === 'cluster') ids.add(change.id);
  }
  return ids;
}

/**
 * What differs between two readings of one result: groups of images by (cluster in a, cluster in b) where the
 * names differ: [{from, to, rows}], the largest first.
 */
export function difference(a, b) {
  const groups = new Map();
  for (let row = 0; row < a.result.n; row += 1) {
    const from = a.name(a.place[row]);
    const to = b.name(b.place[row]);
    if (a.place[row] === b.place[row] || from === to) continue;
    const key = `${from}\u0000${to}`;
    if (!groups.has(key)) groups.set(key, { from, to, fromId: a.place[row], toId: b.place[row], rows: [] });
    groups.get(key).rows.push(row);
  }
  const renamed = [];
  for (const id of a.order) if (b.has(id) && a.name(id) !== b.name(id)) renamed.push({ id, from: a.name(id), to: b.name(id) });
  return { moves: [...groups.values()].sort((x, y) => y.rows.length - x.rows.length), renamed };
}
