// Addresses of the pictures of a finished run, and images that find their file by themselves.

import { h } from './dom.js';

const SHOWABLE = /^(PNG|JPEG|GIF|WEBP|BMP)$/i; // formats that browsers draw; others are shown as the network saw them

export class Pictures {
  /** `source`: ExperimentSource (or anything with file(path) and thumbnail(path, size)); `result`: Result. */
  constructor(source, result) {
    this.source = source;
    this.result = result;
    this.suffix = result.images;
    this.prototypeFolder = result.masked ? 'masked_prototypes' : 'prototypes'; // masked ones say more than bare ones
    this.originals = null; // (row) -> Promise of an address, or null: set where the dataset is at hand
  }

  /** Size to ask for a thumbnail shown at `side` CSS pixels: few sizes, so that they are cached. */
  static bucket(side) {
    const wanted = side * Math.min(2, globalThis.devicePixelRatio || 1);
    return [48, 64, 96, 128, 192, 256, 384].find((size) => size >= wanted) ?? 512;
  }

  imagePath(row, kind) {
    return `results/clusters/cluster${this.result.labels[row]}/${this.result.ids[row]}_${kind}.${this.suffix}`;
  }

  prototypePath(k) { return `results/${this.prototypeFolder}/prototype${k}.png`; }

  thumbnail(row, kind, side) { return this.source.thumbnail(this.imagePath(row, kind), Pictures.bucket(side)); }
  image(row, kind) { return this.source.file(this.imagePath(row, kind)); }

  /** Address of the file that an image was read from; null where it is not at hand, or no browser draws it. */
  async original(row) {
    const found = await this.originals?.(row, this.result.ids[row]).catch(() => null);
    return found && SHOWABLE.test(found.format ?? '') ? found.address : null;
  }

  /**
   * Show an image: as the network saw it at once, and the original in its place when that is at hand. `wanted()`: is
   * it still this image that is to be seen? Gives true when the original is shown.
   */
  async showBest(image, row, wanted) {
    this.load(image, this.image(row, 'raw'));
    const address = await this.original(row);
    if (!address || !wanted()) return false;
    image.onerror = () => this.load(image, this.image(row, 'raw'));
    image.src = address;
    return true;
  }

  /**
   * Prototype k as fitted to an image, at full size or as a thumbnail: kept by the run for the cluster that it chose,
   * asked of its model for any other. null where nobody can tell; never another picture in its place.
   */
  fitted(row, k, side = null) {
    if (k === null || k === undefined) return null;
    if (k === this.result.labels[row]) return side === null ? this.image(row, 'tsf') : this.thumbnail(row, 'tsf', side);
    return this.source.fitted?.(this.result.ids[row], k, side === null ? null : Pictures.bucket(side)) ?? null;
  }

  prototypeThumbnail(k, side) { return this.source.thumbnail(this.prototypePath(k), Pictures.bucket(side)); }
  prototype(k) { return this.source.file(this.prototypePath(k)); }

  /** Show an address in an <img>; a picture that is not there leaves an empty frame. */
  load(image, address) {
    image.classList.remove('missing');
    image.onerror = () => {
      image.onerror = null;
      image.classList.add('missing');
      image.removeAttribute('src');
    };
    image.src = address;
  }

  /** An <img> of a prototype, or of a stand-in when a cluster has none. */
  prototypeImage(cluster, side, { alt = '' } = {}) {
    const image = h('img', { alt, decoding: 'async', draggable: 'false' });
    this.showPrototype(image, cluster, side);
    return image;
  }

  showPrototype(image, cluster, side) {
    image.classList.toggle('stand-in', cluster.prototype === null);
    image.classList.toggle('checkered', this.result.masked && cluster.prototype !== null);
    if (cluster.prototype !== null) this.load(image, this.prototypeThumbnail(cluster.prototype, side));
    else if (cluster.members.length) this.load(image, this.thumbnail(cluster.members[0], 'raw', side));
    else image.removeAttribute('src');
  }
}
