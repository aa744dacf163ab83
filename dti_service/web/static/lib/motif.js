// Small pictures of what may vary between images: one motif three times, each time a little different.

import { s } from './dom.js';

/** The motif as strokes of points in [-1, 1]: a letter R with a leaf. */
const STROKES = [
  line([[-0.5, 0.75], [-0.5, -0.75]]),
  arc(-0.5, -0.35, 0.62, 0.4, -90, 90),
  line([[-0.12, 0.05], [0.5, 0.75]]),
];

function line(points, steps = 14) {
  const out = [];
  for (let at = 1; at < points.length; at += 1) {
    const [[x0, y0], [x1, y1]] = [points[at - 1], points[at]];
    for (let step = 0; step <= steps; step += 1) out.push([x0 + ((x1 - x0) * step) / steps, y0 + ((y1 - y0) * step) / steps]);
  }
  return out;
}

function arc(cx, cy, rx, ry, from, to, steps = 26) {
  return Array.from({ length: steps + 1 }, (_, step) => {
    const angle = ((from + ((to - from) * step) / steps) * Math.PI) / 180;
    return [cx + rx * Math.cos(angle), cy + ry * Math.sin(angle)];
  });
}

const turn = (degrees) => {
  const [c, d] = [Math.cos((degrees * Math.PI) / 180), Math.sin((degrees * Math.PI) / 180)];
  return ([x, y]) => [c * x - d * y, d * x + c * y];
};

/** For each variation: two changes of {map, ink, paper, width}, shown beside the plain motif. */
const CHANGES = {
  position: [{ map: ([x, y]) => [x + 0.3, y - 0.2] }, { map: ([x, y]) => [x - 0.28, y + 0.22] }],
  size: [{ map: ([x, y]) => [x * 0.6, y * 0.6] }, { map: ([x, y]) => [x * 1.22, y * 1.22] }],
  rotation: [{ map: turn(-18) }, { map: turn(20) }],
  slant: [{ map: ([x, y]) => [x - 0.42 * y, y] }, { map: ([x, y]) => [x * 1.25, y * 0.78] }],
  perspective: [{ map: ([x, y]) => [x / (1 + 0.42 * y), y / (1 + 0.42 * y)] }, { map: ([x, y]) => [x / (1 - 0.42 * x), y / (1 - 0.42 * x)] }],
  ink: [{ ink: '#8a3c22', paper: '#f3e6cf' }, { ink: '#3f5a8c', paper: '#d9d2c3' }],
  stroke: [{ width: 2.2 }, { width: 9 }],
  bend: [{ map: ([x, y]) => [x + 0.2 * Math.sin(3.2 * y), y] }, { map: ([x, y]) => [x, y + 0.2 * Math.sin(3.2 * x + 1)] }],
};

const SIDE = 44;

/** For each kind of background: two pictures of {ink, paper, pattern}. */
const BACKDROPS = {
  learned: [{ ink: '#8a3c22', paper: '#e8dcc0', pattern: '#c3ab7c' }, { ink: '#3f5a8c', paper: '#e8dcc0', pattern: '#c3ab7c', map: ([x, y]) => [x * 0.8 + 0.2, y * 0.8] }],
  constant: [{ ink: '#8a3c22', paper: '#e8dcc0' }, { ink: '#3f5a8c', paper: '#d5dfd2', map: ([x, y]) => [x * 0.8 + 0.2, y * 0.8] }],
  ink: [{}, { map: ([x, y]) => [x * 0.8 + 0.2, y * 0.8], paper: '#e4d9c3' }],
  none: [{ ink: '#6b6459', paper: '#cfc7b8', width: 9 }, { ink: '#6b6459', paper: '#cfc7b8', width: 9, map: ([x, y]) => [x - 0.25 * y, y] }],
};

function picture({ map = (point) => point, ink = '#1f1c18', paper = '#fbf7ee', pattern = null, width = 5 }, at) {
  const point = (p) => {
    const [x, y] = map(p);
    return `${(SIDE / 2 + x * 15).toFixed(1)} ${(SIDE / 2 + y * 15).toFixed(1)}`;
  };
  return s('g', { transform: `translate(${at * (SIDE + 5)} 0)` },
    s('rect', { width: SIDE, height: SIDE, rx: 4, fill: paper, stroke: '#b9b1a3' }),
    pattern && s('path', { d: 'M4 12L12 4M4 22L22 4M4 32L32 4M6 40L40 6M16 40L40 16M26 40L40 26M36 40L40 36', stroke: pattern, 'stroke-width': 2 }),
    s('path', { d: STROKES.map((stroke) => `M${stroke.map(point).join('L')}`).join(''), fill: 'none', stroke: ink, 'stroke-width': width, 'stroke-linecap': 'round', 'stroke-linejoin': 'round' }));
}

const strip = (pictures) => s('svg', { viewBox: `0 0 ${3 * SIDE + 10} ${SIDE}`, width: 3 * SIDE + 10, height: SIDE, class: 'motif', 'aria-hidden': 'true' }, pictures.map(picture));

export const motif = (variation) => strip([{}, ...(CHANGES[variation] ?? [])]);

export const backdrop = (kind) => strip(BACKDROPS[kind] ?? []);
