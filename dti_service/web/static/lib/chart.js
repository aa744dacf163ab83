// Line charts as SVG, drawn from numbers; with a text for those who cannot see them.

import { fill, h, s } from './dom.js';

/** Round steps for an axis: 0, 0.05, 0.1 ... */
export function ticks(low, high, count = 4) {
  if (!(high > low)) return [low];
  const raw = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((one) => one * power).find((one) => one >= raw);
  const list = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step * 1e-9; value += step) list.push(Number(value.toPrecision(12)));
  return list;
}

/** At most `most` points of a line, keeping the extremes of what is left out. */
export function thin(points, most = 400) {
  if (points.length <= most) return points;
  const size = Math.ceil(points.length / (most / 2));
  const out = [];
  for (let at = 0; at < points.length; at += size) {
    const part = points.slice(at, at + size);
    const low = part.reduce((a, b) => (b[1] < a[1] ? b : a));
    const high = part.reduce((a, b) => (b[1] > a[1] ? b : a));
    out.push(...(low[0] < high[0] ? [low, high] : low === high ? [low] : [high, low]));
  }
  return out;
}

/** A chart that can be given new points: `update([[x, y], ...])`. */
export function lineChart({ label, i18n, height = 150, width = 320, unit = '' }) {
  const svg = s('svg', { viewBox: `0 0 ${width} ${height}`, class: 'chart', role: 'img', 'aria-label': label });
  const figure = h('figure.chart-box', null, svg, h('figcaption', null, label));
  const left = 44;
  const [right, top, bottom] = [8, 8, 20];
  function update(points) {
    const line = thin(points.filter(([x, y]) => Number.isFinite(x) && Number.isFinite(y)));
    if (line.length < 2) {
      fill(svg, s('text', { x: width / 2, y: height / 2, 'text-anchor': 'middle', class: 'chart-text' }, i18n.t('chart.waiting')));
      return;
    }
    const xs = line.map(([x]) => x);
    const ys = line.map(([, y]) => y);
    const [x0, x1, y0, y1] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    const pad = (y1 - y0 || Math.abs(y1) || 1) * 0.06;
    const X = (x) => left + ((x - x0) / (x1 - x0 || 1)) * (width - left - right);
    const Y = (y) => height - bottom - ((y - y0 + pad) / (y1 - y0 + 2 * pad)) * (height - top - bottom);
    fill(svg,
      ticks(y0, y1, 3).map((value) => [s('line', { x1: left, x2: width - right, y1: Y(value), y2: Y(value), class: 'chart-grid' }), s('text', { x: left - 5, y: Y(value) + 3.5, 'text-anchor': 'end', class: 'chart-text' }, i18n.number(value, 3))]),
      ticks(x0, x1, 4).map((value) => { // a number at the edge ends there instead of being cut
        const edge = X(value) > width - 3 * right;
        return s('text', { x: edge ? width - 1 : X(value), y: height - 6, 'text-anchor': edge ? 'end' : 'middle', class: 'chart-text' }, i18n.number(value));
      }),
      s('polyline', { points: line.map(([x, y]) => `${X(x).toFixed(1)},${Y(y).toFixed(1)}`).join(' '), class: 'chart-line' }),
      s('circle', { cx: X(xs.at(-1)), cy: Y(ys.at(-1)), r: 3, class: 'chart-dot' }));
    svg.setAttribute('aria-label', i18n.t('chart.label', { label, from: i18n.number(ys[0], 3), to: i18n.number(ys.at(-1), 3), n: points.length, unit }));
  }
  update([]);
  return { element: figure, update };
}

/** Bars, one for each value, with a title for each. */
export function barChart({ label, values, titles, height = 72, width = 320 }) {
  const most = Math.max(1, ...values);
  const step = width / Math.max(1, values.length);
  return h('figure.chart-box', null, s('svg', { viewBox: `0 0 ${width} ${height}`, class: 'chart', role: 'img', 'aria-label': label },
    values.map((value, at) => {
      const size = (value / most) * (height - 4);
      return s('rect', { x: at * step + step * 0.1, y: height - size, width: step * 0.8, height: size, class: 'chart-bar' }, s('title', null, titles[at]));
    })), h('figcaption', null, label));
}
