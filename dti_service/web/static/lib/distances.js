// The distances of all images to all prototypes: fetched and read while nobody waits, or at once when they are asked for.

const idle = globalThis.requestIdleCallback ?? ((fn) => setTimeout(fn, 200));
const AT_A_TIME = 40; // images

export class Distances {
  /** `result`: Result, which is filled; `source`: anything with table() -> Promise of CSV text. */
  constructor(result, source) {
    Object.assign(this, { result, source, walk: null, begun: null, stopped: false });
    this.ready = new Promise((resolve) => {
      this.done = resolve;
    });
  }

  begin() {
    this.begun ??= this._begin().catch((error) => {
      this.begun = null;
      throw error;
    });
    return this.begun;
  }

  async _begin() {
    this.walk = this.result.whole ? everyRow(this.result) : this.result.reading(await this.source.table());
  }

  /** Read all of them a few at a time, never at the cost of a frame. */
  async quietly() {
    await this.begin();
    const step = (deadline) => {
      do {
        if (this.stopped) return;
        for (let n = 0; n < AT_A_TIME; n += 1) if (this._next()) return;
      } while (deadline?.timeRemaining?.() > 4);
      idle(step);
    };
    idle(step);
  }

  /** Resolves when all can be looked up. Rejects with what kept them from being fetched. */
  async all() {
    if (this.result.whole) return;
    await this.begin();
    while (!this._next());
  }

  _next() {
    if (!this.walk.next().done) return false;
    this.done();
    return true;
  }

  stop() { this.stopped = true; }
}

function* everyRow(result) {
  for (let row = 0; row < result.n; row += 1) yield result.distances(row);
}
