// Comparing two ways of sorting the same images: which cluster became which, what moved, and how much they agree.

const MOST_EXACT = 150; // clusters on a side up to which the best matching is found exactly

/**
 * How images lie in two groupings. Each: {clusters: [{id, name}], place: Map of image name -> index of its cluster}.
 * Gives {table: counts[a][b], sizesA, sizesB (of the common images), shared: [names], onlyA, onlyB: [names]}.
 */
export function contingency(a, b) {
  const table = a.clusters.map(() => new Array(b.clusters.length).fill(0));
  const sizesA = new Array(a.clusters.length).fill(0);
  const sizesB = new Array(b.clusters.length).fill(0);
  const shared = [];
  const onlyA = [];
  for (const [name, at] of a.place) {
    const to = b.place.get(name);
    if (to === undefined) {
      onlyA.push(name);
      continue;
    }
    shared.push(name);
    table[at][to] += 1;
    sizesA[at] += 1;
    sizesB[to] += 1;
  }
  const onlyB = [...b.place.keys()].filter((name) => !a.place.has(name));
  return { table, sizesA, sizesB, shared, onlyA, onlyB };
}

/** For each row of `gain` its column, or -1, so that the sum of what is matched is largest; nothing is matched by 0. */
export function bestMatching(gain) {
  const rows = gain.length;
  const columns = gain[0]?.length ?? 0;
  if (!rows || !columns) return new Array(rows).fill(-1);
  const found = Math.max(rows, columns) > MOST_EXACT ? greedy(gain) : hungarian(gain);
  return found.map((column, row) => (column >= 0 && gain[row][column] > 0 ? column : -1));
}

function greedy(gain) {
  const pairs = [];
  gain.forEach((line, row) => line.forEach((value, column) => value > 0 && pairs.push([value, row, column])));
  pairs.sort((x, y) => y[0] - x[0]);
  const out = new Array(gain.length).fill(-1);
  const taken = new Set();
  for (const [, row, column] of pairs) {
    if (out[row] >= 0 || taken.has(column)) continue;
    out[row] = column;
    taken.add(column);
  }
  return out;
}

/** The assignment problem by shortest augmenting paths (Kuhn 1955, Jonker and Volgenant 1987), O(n³). */
function hungarian(gain) {
  const n = Math.max(gain.length, gain[0].length);
  const cost = (row, column) => -(gain[row]?.[column] ?? 0);
  const u = new Array(n + 1).fill(0);
  const v = new Array(n + 1).fill(0);
  const rowOf = new Array(n + 1).fill(0);
  const way = new Array(n + 1).fill(0);
  for (let row = 1; row <= n; row += 1) {
    rowOf[0] = row;
    let at = 0;
    const least = new Array(n + 1).fill(Infinity);
    const used = new Array(n + 1).fill(false);
    do {
      used[at] = true;
      const here = rowOf[at];
      let delta = Infinity;
      let next = 0;
      for (let column = 1; column <= n; column += 1) {
        if (used[column]) continue;
        const reduced = cost(here - 1, column - 1) - u[here] - v[column];
        if (reduced < least[column]) {
          least[column] = reduced;
          way[column] = at;
        }
        if (least[column] < delta) {
          delta = least[column];
          next = column;
        }
      }
      for (let column = 0; column <= n; column += 1) {
        if (used[column]) {
          u[rowOf[column]] += delta;
          v[column] -= delta;
        } else least[column] -= delta;
      }
      at = next;
    } while (rowOf[at] !== 0);
    do {
      const before = way[at];
      rowOf[at] = rowOf[before];
      at = before;
    } while (at);
  }
  const out = new Array(gain.length).fill(-1);
  for (let column = 1; column <= n; column += 1) {
    if (rowOf[column] <= gain.length && column <= gain[0].length) out[rowOf[column] - 1] = column - 1;
  }
  return out;
}

/** Adjusted Rand index of a table of counts: 1 for the same groups, about 0 for chance (Hubert and Arabie 1985). */
export function adjustedRand({ table, sizesA, sizesB, shared }) {
  const pairs = (n) => (n * (n - 1)) / 2;
  const sum = (list) => list.reduce((total, n) => total + pairs(n), 0);
  const together = table.reduce((total, line) => total + sum(line), 0);
  const [inA, inB, all] = [sum(sizesA), sum(sizesB), pairs(shared.length)];
  if (!all) return NaN;
  const expected = (inA * inB) / all;
  const most = (inA + inB) / 2;
  return most === expected ? 1 : (together - expected) / (most - expected);
}

/**
 * Two groupings compared: {…contingency, match: column of each row, flows, moves, pairs, agree, ari}.
 * `flows`: every non-empty pair {a, b, n, matched}; `moves`: names by "a b" of what lies in no matching cluster;
 * `pairs`: [{a, b, n, overlap}] with overlap = shared images over images of either (Jaccard), -1 for what has no match.
 */
export function compareGroupings(a, b) {
  const counts = contingency(a, b);
  const { table, sizesA, sizesB, shared } = counts;
  const match = bestMatching(table);
  const flows = [];
  table.forEach((line, from) => line.forEach((n, to) => n && flows.push({ a: from, b: to, n, matched: match[from] === to })));
  const moves = new Map();
  for (const name of shared) {
    const [from, to] = [a.place.get(name), b.place.get(name)];
    if (match[from] === to) continue;
    const key = `${from} ${to}`;
    if (!moves.has(key)) moves.set(key, { a: from, b: to, names: [] });
    moves.get(key).names.push(name);
  }
  const pairs = a.clusters.map((_, from) => {
    const to = match[from];
    const n = to < 0 ? 0 : table[from][to];
    return { a: from, b: to, n, overlap: to < 0 ? 0 : n / (sizesA[from] + sizesB[to] - n) };
  });
  const taken = new Set(match);
  b.clusters.forEach((_, to) => !taken.has(to) && pairs.push({ a: -1, b: to, n: 0, overlap: 0 }));
  const kept = pairs.reduce((total, pair) => total + pair.n, 0);
  return {
    ...counts, match, flows, moves: [...moves.values()].sort((x, y) => y.names.length - x.names.length), pairs,
    kept, agree: shared.length ? kept / shared.length : NaN, ari: adjustedRand(counts),
  };
}

/**
 * Places of the bars and ribbons of a flow picture. Clusters of the left stand in their order, those of the right where
 * most of their images come from. `height` is for all images; bars have `gap` between them.
 * Gives {left, right: [{at, y, size}], ribbons: [{a, b, n, matched, y0, y1, size}], height}.
 */
export function flowLayout({ flows, sizesA, sizesB, match }, { height = 480, gap = 8, least = 14 } = {}) {
  const indexA = sizesA.map((_, at) => at).filter((at) => sizesA[at] > 0);
  const home = new Map(match.map((to, from) => [to, from]));
  const centre = (to) => {
    if (home.has(to)) return indexA.indexOf(home.get(to));
    let [sum, weight] = [0, 0];
    for (const flow of flows) if (flow.b === to) [sum, weight] = [sum + flow.n * indexA.indexOf(flow.a), weight + flow.n];
    return weight ? sum / weight + 0.5 : Infinity;
  };
  const indexB = sizesB.map((_, at) => at).filter((at) => sizesB[at] > 0).sort((x, y) => centre(x) - centre(y) || x - y);
  const total = Math.max(1, sizesA.reduce((sum, n) => sum + n, 0));
  const rows = Math.max(indexA.length, indexB.length, 1);
  const full = Math.max(height, rows * (least + gap));
  const scale = (full - rows * gap - rows * least) / total;
  const stack = (order, sizes) => {
    let y = gap / 2;
    return order.map((at) => {
      const place = { at, y, size: least + sizes[at] * scale };
      y += place.size + gap;
      return place;
    });
  };
  const left = stack(indexA, sizesA);
  const right = stack(indexB, sizesB);
  const edge = (places, sizes, key, order) => {
    const offsets = new Map();
    const rank = new Map(order.map((at, place) => [at, place]));
    for (const place of places) {
      let y = place.y;
      const mine = flows.filter((flow) => flow[key] === place.at).sort((x, z) => rank.get(x[key === 'a' ? 'b' : 'a']) - rank.get(z[key === 'a' ? 'b' : 'a']));
      for (const flow of mine) {
        offsets.set(flow, { y, size: (flow.n / sizes[place.at]) * place.size });
        y += (flow.n / sizes[place.at]) * place.size;
      }
    }
    return offsets;
  };
  const fromEdge = edge(left, sizesA, 'a', indexB);
  const toEdge = edge(right, sizesB, 'b', indexA);
  const ribbons = flows.map((flow) => ({ ...flow, from: fromEdge.get(flow), to: toEdge.get(flow) }));
  const end = (places) => (places.length ? places.at(-1).y + places.at(-1).size : 0);
  return { left, right, ribbons, height: Math.max(end(left), end(right)) + gap / 2 };
}

/** The path of a ribbon from (x0, from) to (x1, to). */
export function ribbonPath({ from, to }, x0, x1) {
  const middle = (x0 + x1) / 2;
  const [a, b, c, d] = [from.y, from.y + from.size, to.y, to.y + to.size].map((value) => value.toFixed(1));
  return `M${x0} ${a}C${middle} ${a} ${middle} ${c} ${x1} ${c}L${x1} ${d}C${middle} ${d} ${middle} ${b} ${x0} ${b}Z`;
}
