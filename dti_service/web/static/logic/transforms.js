// From plain questions ("what varies between your images?") to a sequence of transformations, and back.

/** What may vary, in the order in which it is asked. */
export const VARIATIONS = ['position', 'size', 'rotation', 'slant', 'perspective', 'ink', 'stroke', 'bend'];

const ALIASES = {
  id: 'identity', col: 'color', linearcolor: 'color', aff: 'affine', pos: 'position', proj: 'projective',
  homography: 'projective', sim: 'similarity', thinplatespline: 'tps', morphological: 'morpho',
};

/** "identity_color_affine" for a set of variations. The geometric ones share the smallest model that has them. */
export function sequenceOf(variations) {
  const given = new Set(variations);
  const names = ['identity'];
  if (given.has('ink')) names.push('color');
  if (given.has('perspective')) names.push('projective');
  else if (given.has('slant')) names.push('affine');
  else if (given.has('position') || given.has('size') || given.has('rotation')) names.push('similarity');
  if (given.has('stroke')) names.push('morpho');
  if (given.has('bend')) names.push('tps');
  return names.join('_');
}

/** The variations that a sequence covers. A chosen model covers more than was asked, and the form shows it. */
export function variationsOf(sequence) {
  const names = new Set(String(sequence ?? '').split('_').map((name) => ALIASES[name] ?? name));
  const found = new Set();
  if (names.has('color')) found.add('ink');
  if (names.has('translation') || names.has('position')) found.add('position');
  if (names.has('position')) found.add('size');
  if (names.has('rotation')) found.add('rotation');
  if (names.has('similarity')) for (const one of ['position', 'size', 'rotation']) found.add(one);
  if (names.has('affine')) for (const one of ['position', 'size', 'rotation', 'slant']) found.add(one);
  if (names.has('projective')) for (const one of ['position', 'size', 'rotation', 'slant', 'perspective']) found.add(one);
  if (names.has('morpho')) found.add('stroke');
  if (names.has('tps')) found.add('bend');
  return VARIATIONS.filter((one) => found.has(one));
}

/** A sensible range for the number of clusters of n images: [few, suggested, many]. */
export function clusterHint(n) {
  if (!Number.isFinite(n) || n < 4) return null;
  const most = Math.max(2, Math.floor(n / 4));
  const at = (value) => Math.max(2, Math.min(most, Math.round(value)));
  return [at(Math.sqrt(n) / 3), at(Math.sqrt(n) / 1.5), at(Math.sqrt(n) * 1.2)];
}
