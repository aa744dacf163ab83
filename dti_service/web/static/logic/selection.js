// The chosen images, across clusters. Every change tells which rows it touched, so that only they are redrawn.

export class Selection {
  constructor() {
    this.rows = new Set();
    this.anchor = null;
    this.listeners = new Set();
  }

  get size() { return this.rows.size; }
  has(row) { return this.rows.has(row); }
  values() { return [...this.rows]; }

  subscribe(listener) {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  _tell(touched) {
    if (touched.length) for (const listener of [...this.listeners]) listener(touched);
  }

  toggle(row) {
    if (!this.rows.delete(row)) this.rows.add(row);
    this.anchor = row;
    this._tell([row]);
  }

  add(rows) {
    const touched = [...rows].filter((row) => !this.rows.has(row));
    for (const row of touched) this.rows.add(row);
    this._tell(touched);
  }

  remove(rows) {
    const touched = [...rows].filter((row) => this.rows.delete(row));
    this._tell(touched);
  }

  /** Exactly these rows. */
  replace(rows) {
    const next = new Set(rows);
    const touched = [...this.rows].filter((row) => !next.has(row));
    for (const row of next) if (!this.rows.has(row)) touched.push(row);
    this.rows = next;
    this._tell(touched);
  }

  clear() {
    this.anchor = null;
    this.replace([]);
  }

  /** The others of `rows`; what is chosen elsewhere stays. */
  invert(rows) {
    const touched = [...rows];
    for (const row of touched) if (!this.rows.delete(row)) this.rows.add(row);
    this._tell(touched);
  }

  /** From the anchor to `row` along `order` (rows in reading order); without an anchor just that row. */
  extend(row, order) {
    const from = order.indexOf(this.anchor);
    const to = order.indexOf(row);
    if (from < 0 || to < 0) {
      if (!this.rows.has(row)) this.toggle(row);
      this.anchor = row;
      return;
    }
    this.add(order.slice(Math.min(from, to), Math.max(from, to) + 1));
  }
}
