// The images of a new experiment: dropped files, a dataset that is here already, addresses, a folder, the samples.

import { disposer, fill, h, uid } from '../lib/dom.js';
import { icon } from '../lib/icons.js';

const SAMPLE = 'sample';
const DATASET_ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const PREVIEW = 14;
const SAMPLE_SIZE = 1797; // the digits that come with the program
const POLL = 1200;
const KINDS = ['files', 'dataset', 'addresses', 'path', 'sample'];

/** What is known of one kind of images: each keeps its own, so that going to another kind takes nothing along. */
const nothingYet = () => ({
  dataset: null, // record of the chosen or made dataset
  thumbs: null, sending: null, trouble: null,
  pending: null, // promise of an upload or download under way
  abort: null,
});

export class ImagesPart {
  /** Of the form: api, ui, t, i18n; `startWith`: dataset as text or null, with `startCount` images; `onChange()`. */
  constructor({ api, ui, t, i18n, startWith, startCount = NaN, onChange }) {
    Object.assign(this, { api, ui, t, i18n, startWith, startCount, onChange });
    this.ends = disposer();
    this.kind = !startWith || startWith === SAMPLE ? (startWith ? 'sample' : 'files') : DATASET_ID.test(startWith) ? 'dataset' : 'path';
    this.path = this.kind === 'path' ? startWith : '';
    this.chosen = this.kind === 'dataset' ? startWith : null;
    this.parts = Object.fromEntries(KINDS.map((kind) => [kind, nothingYet()]));
    this.body = h('div.images-body');
    this.name = uid('images');
    this.element = h('div', null, h('div.segmented.wrap', { role: 'radiogroup', 'aria-label': t('start.images') }, KINDS.map((kind) => h('label', null,
      h('input', { type: 'radio', name: this.name, value: kind, checked: kind === this.kind, onchange: () => this.choose(kind) }), h('span', null, t(`images.${kind}`))))), this.body);
    if (this.chosen) this.load(this.chosen);
    this.draw();
  }

  dispose() {
    this.gone = true;
    for (const part of Object.values(this.parts)) part.abort?.abort();
    this.ends.dispose();
    this.forget();
  }

  choose(kind) {
    this.kind = kind;
    this.draw();
    this.onChange();
  }

  get part() { return this.parts[this.kind]; }

  /** Addresses that were typed but not yet fetched, or changed since. */
  get unfetched() {
    return this.kind === 'addresses' && Boolean(this.addresses?.trim()) && this.part.of !== this.addresses.trim();
  }

  // -- what the form asks ----------------------------------------------------------------------------------------

  /** The dataset as text, as far as it is known. */
  value() {
    if (this.kind === 'sample') return SAMPLE;
    if (this.kind === 'path') return this.path.trim() || null;
    return this.unfetched ? null : this.part.dataset?.id ?? null;
  }

  /** What they are called, as far as that is known. */
  label() {
    if (this.kind === 'sample') return '';
    if (this.kind === 'path') return this.path.trim().replace(/\/+$/, '').split('/').pop();
    return this.unfetched ? '' : this.part.dataset?.name ?? '';
  }

  count() {
    if (this.kind === 'sample') return SAMPLE_SIZE;
    if (this.kind === 'path') return this.path.trim() === this.startWith ? this.startCount : NaN;
    const { dataset } = this.part;
    if (this.unfetched) return NaN;
    return dataset?.counts?.images || dataset?.n_images || (this.kind === 'files' && this.local?.length ? this.local.filter(({ file }) => file.type.startsWith('image/')).length || NaN : NaN);
  }

  /** Why it cannot be sent yet, or null. */
  problem() {
    if (this.kind === 'sample') return null;
    if (this.kind === 'path') return this.path.trim() ? null : this.t('images.missing.path');
    if (this.unfetched || this.part.pending) return null;
    if (this.part.dataset?.state === 'failed') return this.t('images.failed');
    return this.part.dataset ? null : this.t(`images.missing.${this.kind}`);
  }

  /** Wait for uploads and downloads; gives the dataset as text, or null for the notebook's own default. */
  async ready(say) {
    if (this.unfetched) this.fetchAddresses();
    if (this.part.pending) {
      say(this.t('images.waiting'));
      await this.part.pending;
    }
    return this.value();
  }

  // -- drawing -----------------------------------------------------------------------------------------------------

  draw() {
    const { t } = this;
    const draw = { files: () => this.drawFiles(), dataset: () => this.drawDatasets(), addresses: () => this.drawAddresses(), path: () => this.drawPath(), sample: () => h('p.hint', null, t('images.sample.hint')) };
    this.status = h('div.images-status', { role: 'status' });
    fill(this.body, draw[this.kind](), this.status);
    this.drawStatus();
  }

  drawFiles() {
    const { t } = this;
    const file = h('input.visually-hidden', { type: 'file', multiple: true, accept: 'image/*,.zip,.pdf,.tif,.tiff,.csv', id: uid('file'), onchange: () => this.take(chosenIn(file).map((one) => ({ file: one, path: one.name }))) });
    const folder = h('input.visually-hidden', { type: 'file', webkitdirectory: true, multiple: true, id: uid('file'), onchange: () => this.take(chosenIn(folder).map((one) => ({ file: one, path: one.webkitRelativePath || one.name }))) });
    const zone = h('div.drop-zone', null, icon('upload', 30), h('p', null, h('strong', null, t('images.drop'))), h('p.muted', null, t('images.drop.hint')),
      h('div.drop-buttons', null, this.ui.button(t('images.choose'), { iconName: 'file', onclick: () => file.click() }), this.ui.button(t('images.folder'), { iconName: 'folder', onclick: () => folder.click() })), file, folder);
    // The real inputs are reached through the two buttons.
    for (const input of [file, folder]) {
      input.tabIndex = -1;
      input.setAttribute('aria-label', t('images.choose'));
    }
    zone.addEventListener('dragover', (event) => {
      event.preventDefault();
      zone.classList.add('over');
    });
    zone.addEventListener('dragleave', () => zone.classList.remove('over'));
    zone.addEventListener('drop', async (event) => {
      event.preventDefault();
      zone.classList.remove('over');
      this.take(await dropped(event.dataTransfer));
    });
    return zone;
  }

  drawDatasets() {
    const { t } = this;
    const list = h('div.dataset-list', { role: 'radiogroup', 'aria-label': t('images.dataset') }, h('div.skeleton.line'));
    this.api.datasets({ limit: 100 }).then(({ items }) => {
      if (this.gone) return;
      fill(list, items.length ? items.map((item) => {
        const n = item.counts?.images ?? item.n_images ?? 0;
        return h('label.dataset', null, h('input', { type: 'radio', name: `${this.name}-known`, value: item.id, checked: item.id === this.chosen, disabled: item.state === 'failed', onchange: () => this.load(item.id) }),
          h('span', null, h('strong', null, item.name || t('unnamed')), h('span.muted', null, [item.state && item.state !== 'ready' ? t(`dataset.${item.state}`) : t('n.images', { n }), this.i18n.date(item.created_at)].join(' · '))));
      }) : h('p.muted', null, t('images.dataset.none')));
    }).catch((error) => fill(list, h('p.error-text', null, error.status === 0 ? t('error.offline') : error.message)));
    return list;
  }

  drawAddresses() {
    const { t } = this;
    const text = h('textarea', { rows: 4, id: uid('field'), placeholder: 'https://gallica.bnf.fr/iiif/ark:/12148/…/manifest.json', value: this.addresses ?? '', oninput: () => {
      this.addresses = text.value;
      this.onChange();
    } });
    return h('div', null, h('label.field', { for: text.id }, t('images.addresses.label')), text, h('p.hint', null, t('images.addresses.hint')), this.ui.button(t('images.fetch'), { iconName: 'download', onclick: () => this.fetchAddresses() }));
  }

  drawPath() {
    const { t } = this;
    const input = h('input', { type: 'text', id: uid('field'), value: this.path, placeholder: '/data/initials', oninput: () => {
      this.path = input.value;
      this.onChange();
    } });
    return h('div', null, h('label.field', { for: input.id }, t('images.path.label')), input, h('p.hint', null, t('images.path.hint')));
  }

  drawStatus() {
    const { t, i18n, status } = this;
    if (!status) return;
    const { dataset, sending, trouble, thumbs, abort } = this.part;
    const errors = dataset?.errors ?? [];
    fill(status,
      sending && h('div.sending', null, h('progress', { max: 1, value: sending.share, 'aria-label': t('images.sending') }), h('span.muted.num', null, sending.text), this.ui.button(t('cancel'), { onclick: () => abort?.abort() })),
      trouble && h('div.notice.bad', { role: 'alert' }, icon('warning'), h('div', null, h('p', null, trouble.message), trouble.errors?.length > 0 && h('ul', null, trouble.errors.slice(0, 8).map(({ field, reason }) => h('li', null, `${field}: ${reason}`))))),
      dataset && h('div.found', null,
        h('p', null, dataset.state === 'ready' || !dataset.state ? [icon('check', 16), h('strong', null, ` ${t('images.found', { n: dataset.counts?.images ?? 0 })}`)] : h('strong', null, t(`dataset.${dataset.state}`)),
          dataset.counts?.skipped ? h('span.muted', null, ` · ${t('images.skipped', { n: dataset.counts.skipped })}`) : null),
        errors.length > 0 && h('details', null, h('summary', null, t('images.skipped.list', { n: errors.length })), h('ul', null, errors.slice(0, 50).map(({ field, reason }) => h('li', null, `${field}: ${reason}`)))),
        thumbs?.length > 0 && h('div.preview', null, thumbs)),
      !dataset && this.kind === 'files' && this.local?.length > 0 && h('div.found', null, h('p', null, t('images.local', { n: this.local.length, size: i18n.bytes(this.local.reduce((sum, { file }) => sum + file.size, 0)) })), h('div.preview', null, this.localThumbs)));
  }

  // -- doing ---------------------------------------------------------------------------------------------------------

  /** Files were chosen: show them, and send them at once while the rest of the form is filled in. */
  take(files) {
    const wanted = files.filter(({ path }) => !path.split('/').some((part) => part.startsWith('.')));
    if (!wanted.length) return;
    this.forget();
    this.local = wanted;
    this.localThumbs = wanted.filter(({ file }) => /^image\/(png|jpe?g|gif|webp|bmp|svg)/.test(file.type)).slice(0, PREVIEW).map(({ file, path }) => h('img', { alt: path, title: path, src: URL.createObjectURL(file) }));
    const top = wanted[0].path.split('/')[0];
    const name = (wanted[0].path.includes('/') || wanted.length === 1 ? top : this.t('images.upload.name', { n: wanted.length })).replace(/\.(zip|tar|tgz|gz|pdf)$/i, '');
    this.work('files', (signal, say) => this.api.upload(wanted, {
      name, signal, onProgress: (sent, total) => say(sent / total, sent < total ? this.t('images.sent', { sent: this.i18n.bytes(sent), total: this.i18n.bytes(total) }) : this.t('images.reading')),
    }));
  }

  fetchAddresses() {
    const text = (this.addresses ?? '').trim();
    const lines = text.split(/\s+/).filter(Boolean);
    if (!lines.length) {
      this.part.trouble = { message: this.t('images.missing.addresses') };
      this.drawStatus();
      return;
    }
    this.work('addresses', (signal, say) => {
      say(0, this.t('images.fetching'));
      // A single document is called by its own title.
      return this.api.addDocuments(lines.map((src) => ({ type: 'auto', src })), lines.length > 1 ? this.t('images.addresses.name', { n: lines.length }) : null);
    });
    this.parts.addresses.of = text;
  }

  /** Do something that makes a dataset, and follow it until it is ready. What was under way for this kind is given up. */
  work(kind, start) {
    this.parts[kind].abort?.abort();
    const part = Object.assign(nothingYet(), { abort: new AbortController() });
    this.parts[kind] = part;
    const say = (share, text) => {
      part.sending = { share, text };
      this.drawStatus();
    };
    const work = (async () => {
      const made = await start(part.abort.signal, say);
      await this.follow(part, made, say);
    })();
    part.pending = work.catch((error) => {
      part.sending = null;
      part.of = null;
      if (error.name === 'AbortError' && this.parts.files === part) this.forget(); // given up, not replaced by others
      part.trouble = error.name === 'AbortError' ? null : { message: error.status === 0 ? this.t('error.offline') : error.message, errors: error.errors };
      this.drawStatus();
      throw error;
    }).finally(() => {
      part.pending = null;
      if (!this.gone) this.onChange();
    });
    part.pending.catch(() => {});
    this.drawStatus();
  }

  async follow(part, record, say) {
    let dataset = record;
    while (!['ready', 'failed', undefined].includes(dataset.state)) {
      const { done, total } = dataset.progress ?? {};
      say(total ? done / total : 0, total ? this.t('images.fetched', { done, total }) : this.t(`dataset.${dataset.state}`));
      await new Promise((resolve) => setTimeout(resolve, POLL));
      if (this.gone || part.abort.signal.aborted) throw new DOMException('aborted', 'AbortError');
      dataset = await this.api.dataset(dataset.id);
    }
    part.sending = null;
    if (dataset.state === 'failed') {
      const error = new Error(this.t('images.failed'));
      error.errors = dataset.errors;
      throw error;
    }
    await this.show(part, dataset);
  }

  async load(id) {
    const part = nothingYet();
    this.parts.dataset = part;
    this.chosen = id;
    try {
      await this.show(part, await this.api.dataset(id));
    } catch (error) {
      part.trouble = { message: error.status === 404 ? this.t('images.dataset.gone') : error.status === 0 ? this.t('error.offline') : error.message };
      this.drawStatus();
    }
    if (!this.gone) this.onChange();
  }

  async show(part, dataset) {
    part.dataset = dataset;
    part.thumbs = [];
    try {
      const page = await this.api.get(`datasets/${dataset.id}/images`, { limit: PREVIEW });
      part.thumbs = page.items.map((item) => h('img', { alt: item.name ?? item.file, title: item.name ?? item.file, loading: 'lazy', src: this.api.url(`datasets/${dataset.id}/images/${item.n}`, { thumbnail: 128 }) }));
    } catch {
      // The count is known; the preview is a courtesy.
    }
    this.drawStatus();
  }

  forget() {
    for (const image of this.localThumbs ?? []) URL.revokeObjectURL(image.src);
    this.localThumbs = [];
    this.local = [];
  }
}

/** The files of an input, which is emptied: who gave up an upload may choose the same ones again. */
function chosenIn(input) {
  const files = [...input.files];
  input.value = '';
  return files;
}

/** Files and folders of a drop, with their paths. */
async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files].map((file) => ({ file, path: file.name }));
  const out = [];
  const walk = async (entry, before) => {
    const path = before ? `${before}/${entry.name}` : entry.name;
    if (entry.isFile) out.push({ file: await new Promise((resolve, reject) => entry.file(resolve, reject)), path });
    else {
      const reader = entry.createReader();
      for (;;) {
        const part = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
        if (!part.length) break;
        for (const one of part) await walk(one, path);
      }
    }
  };
  for (const entry of entries) await walk(entry, '');
  return out;
}
