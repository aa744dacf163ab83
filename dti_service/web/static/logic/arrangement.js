// What is shown, in which order, and which clusters are open. Changes of the curation move as little as possible.

import { imageFilter, keepOrder, sortClusters, sortImages } from './order.js';
import { touchedClusters, UNSORTED } from './curation.js';

export class Arrangement {
  /** `settings`: {order, clusters, filter}; `compare` for names; `sourceOf(row)` for filter and order by source. */
  constructor(curation, { order = 'best', clusterOrder = 'given', filter = {}, compare, sourceOf = null } = {}) {
    this.curation = curation;
    this.order = order;
    this.clusterOrder = clusterOrder;
    this.filter = filter;
    this.compare = compare;
    this.sourceOf = sourceOf;
    this.open = new Set();
    this.lists = new Map();
    this.remembered = new WeakMap();
    this.arrange();
  }

  /** Sort everything anew: when the reader asks for it, never by itself. */
  arrange() {
    this.ids = sortClusters(this.curation, this.clusterOrder, { compare: this.compare });
    this.lists.clear();
    this.test = imageFilter(this.filter, this.curation, this.sourceOf);
    this.settled = true;
  }

  set(change) {
    Object.assign(this, change);
    this.arrange();
  }

  get filtered() { return this.test !== null; }

  /** Rows of a cluster as they are shown. */
  list(id) {
    let list = this.lists.get(id);
    if (!list) {
      const members = this.curation.members(id);
      list = sortImages(this.test ? members.filter(this.test) : members, this.order, {
        distance: (row) => this.curation.distance(row),
        doubt: (row) => this.curation.doubt(row),
        name: (row) => this.curation.result.names[row],
        source: (row) => this.sourceOf?.(row) ?? '',
        compare: this.compare,
      });
      this.lists.set(id, list);
    }
    return list;
  }

  /** Number of rows of a cluster that are shown. Without a filter nothing needs to be sorted for it. */
  count(id) { return this.test ? this.list(id).length : this.curation.members(id).length; }

  /** Clusters to show: while a filter is on, those with a matching image. */
  shown() {
    return this.test ? this.ids.filter((id) => this.count(id)) : this.ids;
  }

  /** [{id, count, open}] for the layout. */
  sections() {
    return this.shown().map((id) => ({ id, count: this.count(id), open: this.open.has(id) }));
  }

  total() { return this.shown().reduce((sum, id) => sum + this.count(id), 0); }

  /** Remember the order of what an operation is about to touch, so that undo puts everything back in place. */
  before(operation) {
    const kept = new Map();
    for (const id of touchedClusters(operation)) if (this.lists.has(id)) kept.set(id, this.lists.get(id));
    this.remembered.set(operation, { lists: kept, ids: this.ids });
  }

  /** Follow an operation done (or undone): touched clusters keep their order, new images stand first. */
  follow(operation, { undone = false } = {}) {
    const memory = undone ? this.remembered.get(operation) : null;
    for (const id of touchedClusters(operation)) {
      if (!this.curation.has(id)) {
        this.lists.delete(id);
        this.open.delete(id);
        continue;
      }
      const members = this.curation.members(id);
      const list = this.test ? members.filter(this.test) : members;
      const was = memory?.lists.get(id);
      if (was && sameRows(was, list)) this.lists.set(id, was);
      else if (this.lists.has(id)) this.lists.set(id, keepOrder(this.lists.get(id), list));
    }
    const exist = new Set(this.curation.order);
    if (memory && memory.ids.length === exist.size && memory.ids.every((id) => exist.has(id))) {
      this.ids = memory.ids;
    } else {
      this.ids = this.ids.filter((id) => exist.has(id));
      const known = new Set(this.ids);
      this.curation.order.forEach((id, at) => {
        if (known.has(id)) return;
        if (id === UNSORTED) {
          this.ids.push(id);
          return;
        }
        // A new cluster stands after its neighbour, wherever that one is shown.
        const neighbour = this.curation.order[at - 1];
        const place = neighbour === undefined ? 0 : this.ids.indexOf(neighbour) + 1;
        this.ids.splice(place, 0, id);
      });
    }
    this.settled = false;
  }

  /** All shown rows in reading order. */
  * rows() {
    for (const id of this.shown()) yield* this.list(id);
  }

  /** The shown row before or after `row` in its cluster, then in the next cluster; null at the ends. */
  neighbour(row, step) {
    const ids = this.shown();
    let at = ids.indexOf(this.curation.place[row]);
    let index = at < 0 ? -1 : this.list(ids[at]).indexOf(row);
    if (at < 0 || index < 0) return ids.length ? this.list(ids[0])[0] ?? null : null;
    index += step;
    while (index < 0 || index >= this.list(ids[at]).length) {
      at += step;
      if (at < 0 || at >= ids.length) return null;
      index = step > 0 ? 0 : this.list(ids[at]).length - 1;
    }
    return this.list(ids[at])[index];
  }
}

function sameRows(a, b) {
  if (a.length !== b.length) return false;
  const rows = new Set(a);
  return b.every((row) => rows.has(row));
}
