// Prototypes while a run learns them: a run writes them as one picture from time to time, here it is cut into tiles.

import { h } from '../lib/dom.js';

const SHEETS = ['masked_prototypes', 'prototypes']; // what is shown of what the run learns, the better one first
const BATCH = 2000; // events asked for at a time

/** The one of several pictures {name: event} to show. */
export const bestSheet = (sheets) => sheets.get(SHEETS.find((one) => sheets.has(one))) ?? sheets.values().next().value ?? null;

/** Draw tile k of a sheet's picture on a canvas. `event` says how the sheet is laid out. */
export function drawTile(canvas, image, event, k) {
  const { columns, width, height } = layoutOf(event, image);
  canvas.classList.toggle('checkered', (event.name ?? '').startsWith('masked'));
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext('2d');
  context.clearRect(0, 0, width, height);
  context.drawImage(image, (k % columns) * width, Math.floor(k / columns) * height, width, height, 0, 0, width, height);
}

export const layoutOf = (event, image) => event.tiles ?? { count: 1, columns: 1, width: image.naturalWidth, height: image.naturalHeight };

/** The first prototypes of a running experiment as small canvases, which are drawn anew by `look()`. */
export class FormingTiles {
  constructor(source, count) {
    this.source = source;
    this.next = 0;
    this.sheets = new Map();
    this.canvases = Array.from({ length: count }, () => h('canvas', { width: 1, height: 1, hidden: true }));
  }

  /** Read what was written since the last look. Failures are left to the next one. */
  async look() {
    if (this.busy) return;
    this.busy = true;
    try {
      for (let more = true; more;) {
        const { items, next } = await this.source.eventList({ after: this.next, limit: BATCH });
        for (const event of items) if (event.kind === 'image') this.sheets.set(event.name ?? event.path, event);
        this.next = next;
        more = items.length === BATCH;
      }
      const event = bestSheet(this.sheets);
      if (event && event !== this.drawn) await this.draw(event);
    } catch {
      // Not reached, or the picture was replaced by a later one meanwhile.
    } finally {
      this.busy = false;
    }
  }

  async draw(event) {
    const image = new Image();
    image.src = this.source.file(event.path);
    await image.decode();
    const { count } = layoutOf(event, image);
    this.canvases.forEach((canvas, k) => {
      canvas.hidden = k >= count;
      if (k < count) drawTile(canvas, image, event, k);
    });
    this.drawn = event;
  }
}
