// Where everything lies in a cluster view: arithmetic only. The view draws just what is in sight.

/**
 * Lengths in CSS pixels. `tile`: side of a thumbnail; `caption`: height of the line below it; `width`: of the
 * whole view; `clusters`: [{id, count, open}] in the order shown.
 * Each section of the answer: {id, x, y, w, h, head, gx, gy, cols, stepX, stepY, shown, hidden, count, open};
 * tiles 0..shown-1 lie on a grid from (gx, gy) relative to the section; `hidden` more are behind a "+n" tile.
 */
export function layout({ mode = 'rows', width, tile, caption = 18, gap = 6, pad = 12, clusters }) {
  const measure = { width, tile, caption, gap, pad, stepX: tile + gap, stepY: tile + caption + gap };
  return mode === 'grid' ? cards(measure, clusters) : rows(measure, clusters);
}

/** Side of a cluster's prototype in rows mode, and whether it stands above the members (narrow views). */
export function prototypeSize(width, tile) {
  const narrow = width < 620;
  return { narrow, size: narrow ? 72 : Math.round(Math.min(200, Math.max(132, tile * 1.5))) };
}

const HEAD_LINES = 88; // the name above the prototype and the line of facts below it

function rows({ width, tile, gap, pad, stepX, stepY }, clusters) {
  const { narrow, size } = prototypeSize(width, tile);
  const head = { w: narrow ? width - 2 * pad : size + 8, h: narrow ? size + 8 : size + HEAD_LINES };
  const gx = narrow ? pad : pad + head.w + 16;
  const inner = Math.max(tile, width - gx - pad);
  const cols = Math.max(1, Math.floor((inner + gap) / stepX));
  const folded = narrow ? 2 : Math.max(1, Math.round((head.h + gap) / stepY));
  const sections = [];
  let y = 0;
  for (const { id, count, open } of clusters) {
    const grid = place(count, cols, open ? Infinity : folded);
    const gridHeight = grid.lines ? grid.lines * stepY - gap : 0;
    const gy = narrow ? pad + head.h + 8 : pad;
    const body = narrow ? gy + gridHeight : pad + Math.max(head.h, gridHeight);
    const h = body + pad;
    sections.push({ id, x: 0, y, w: width, h, head, gx, gy, cols, stepX, stepY, count, open: Boolean(open), ...grid });
    y += h + 8;
  }
  return { mode: 'rows', sections, width, height: Math.max(0, y - 8), tile };
}

const CARD_HEAD = 68;

function cards({ width, tile, gap, pad, stepX, stepY }, clusters) {
  const least = Math.max(300, 3 * stepX - gap + 2 * pad);
  const perRow = Math.max(1, Math.floor((width + 12) / (least + 12)));
  const cardWidth = Math.floor((width - 12 * (perRow - 1)) / perRow);
  const columnsOf = (w) => Math.max(1, Math.floor((w - 2 * pad + gap) / stepX));
  const sections = [];
  let [x, y, inRow, rowHeight] = [0, 0, 0, 0];
  const endRow = () => {
    if (!inRow) return;
    y += rowHeight + 12;
    [x, inRow, rowHeight] = [0, 0, 0];
  };
  for (const { id, count, open } of clusters) {
    if (open) endRow();
    const w = open ? width : cardWidth;
    const cols = columnsOf(w);
    const grid = place(count, cols, open ? Infinity : 2);
    const lines = open ? grid.lines : 2;
    const h = pad + CARD_HEAD + 8 + Math.max(0, lines * stepY - gap) + pad;
    sections.push({
      id, x, y, w, h, head: { w: w - 2 * pad, h: CARD_HEAD }, gx: pad, gy: pad + CARD_HEAD + 8,
      cols, stepX, stepY, count, open: Boolean(open), ...grid,
    });
    if (open) y += h + 12;
    else {
      inRow += 1;
      rowHeight = h;
      x += cardWidth + 12;
      if (inRow === perRow) endRow();
    }
  }
  endRow();
  return { mode: 'grid', sections, width, height: Math.max(0, y - 12), tile };
}

function place(count, cols, mostLines) {
  const room = cols * mostLines;
  if (count <= room) return { shown: count, hidden: 0, lines: Math.ceil(count / cols) };
  return { shown: room - 1, hidden: count - room + 1, lines: mostLines };
}

/** Sections that touch the band from `top` to `bottom`. */
export function sectionsWithin({ sections }, top, bottom) {
  let [low, high] = [0, sections.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sections[middle].y + sections[middle].h < top) low = middle + 1;
    else high = middle;
  }
  const found = [];
  for (let at = low; at < sections.length && sections[at].y <= bottom; at += 1) found.push(sections[at]);
  return found;
}

/** First and one-past-last tile of a section that touch the band (the "+n" tile counts as number `shown`). */
export function tilesWithin(section, top, bottom) {
  const cells = section.shown + (section.hidden ? 1 : 0);
  const start = section.y + section.gy;
  const first = Math.max(0, Math.floor((top - start) / section.stepY)) * section.cols;
  const last = (Math.floor((bottom - start) / section.stepY) + 1) * section.cols;
  return [Math.min(first, cells), Math.max(0, Math.min(last, cells))];
}

/** Place of tile `at` relative to its section. */
export function tilePlace(section, at) {
  return {
    x: section.gx + (at % section.cols) * section.stepX,
    y: section.gy + Math.floor(at / section.cols) * section.stepY,
  };
}

/** Scroll position that keeps the section `id` where it was on the screen when the layout changed. */
export function keepPlace(before, after, id, scroll) {
  const was = before.sections.find((section) => section.id === id);
  const is = after.sections.find((section) => section.id === id);
  return was && is ? Math.max(0, scroll + is.y - was.y) : scroll;
}

/** The tiles touched by a rectangle {x, y, w, h} in view coordinates: [{id, from: [numbers]}]. */
export function tilesInRect(view, rect) {
  const found = [];
  for (const section of sectionsWithin(view, rect.y, rect.y + rect.h)) {
    if (section.x > rect.x + rect.w || section.x + section.w < rect.x) continue;
    const [first, last] = tilesWithin(section, rect.y, rect.y + rect.h);
    const numbers = [];
    for (let at = first; at < Math.min(last, section.shown); at += 1) {
      const { x, y } = tilePlace(section, at);
      const left = section.x + x;
      const top = section.y + y;
      if (left < rect.x + rect.w && left + view.tile > rect.x && top < rect.y + rect.h && top + view.tile > rect.y) {
        numbers.push(at);
      }
    }
    if (numbers.length) found.push({ id: section.id, numbers });
  }
  return found;
}

/** Rows first..last of a list of equal rows that touch the band, with `over` more on each side. */
export function listWindow({ total, rowHeight, top, height, over = 6 }) {
  const first = Math.max(0, Math.floor(top / rowHeight) - over);
  const last = Math.min(total, Math.ceil((top + height) / rowHeight) + over);
  return [Math.min(first, last), last];
}
