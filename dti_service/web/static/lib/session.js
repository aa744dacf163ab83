// One reading of a result while it is open: what is done to it, and how it gets saved. No DOM here.

import { Curation, newDocument } from '../logic/curation.js';
import { debounce } from './dom.js';
import { safeStorage } from './store.js';

const SAVE_AFTER = 700; // ms without a change
const RETRY_AFTER = 4000;

/** A name for the address of a variant: letters, digits and dashes of its title, made unique. */
export function slug(title, taken = []) {
  const base = title.normalize('NFD').replace(/\p{M}/gu, '').toLowerCase()
    .replace(/[^a-z0-9]+/g, '-').replace(/^-+|-+$/g, '').slice(0, 40) || 'reading';
  let name = base;
  for (let number = 2; taken.includes(name) || name === 'raw'; number += 1) name = `${base}-${number}`;
  return name;
}

/**
 * Events to `listener(type, detail)`:
 *  "change" {operation, direction: 1 | -1}  something was done or undone
 *  "load"                                   another reading is shown
 *  "status"                                 `status` is saved | waiting | saving | offline | conflict
 *  "variants"                               the list of saved readings changed
 */
export class Session {
  constructor({ result, source, author = '', nameOf, titleFor, storage = safeStorage() }) {
    this.result = result;
    this.source = source;
    this.author = author;
    this.nameOf = nameOf;
    this.titleFor = titleFor;
    this.storage = storage;
    this.listeners = new Set();
    this.variants = [];
    this.name = null;
    this.etag = null;
    this.status = 'saved';
    this.saving = null;
    this.version = 0;
    this.savedVersion = 0;
    this.recovered = false;
    this.curation = this._curation(null);
    this.later = debounce(() => this.save(), SAVE_AFTER);
  }

  _curation(document) {
    return new Curation(this.result, document, { nameOf: this.nameOf, author: this.author });
  }

  on(listener) {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  emit(type, detail) {
    for (const listener of [...this.listeners]) listener(type, detail);
  }

  setStatus(status) {
    if (status === this.status) return;
    this.status = status;
    this.emit('status');
  }

  /** Who acts from now on. */
  signAs(author) {
    this.author = author;
    this.curation.author = author;
    if (this.name === null) this.curation.meta.author = author;
  }

  get unsaved() { return this.version !== this.savedVersion; }
  get title() { return this.name === null ? null : this.curation.meta.title; }

  // -- readings ----------------------------------------------------------------------------------------------

  async list() {
    this.variants = await this.source.curations();
    this.emit('variants');
    return this.variants;
  }

  /** Show a saved reading, or the raw result (null). What is unsaved is saved first. */
  async open(name) {
    await this.settle();
    this.adopt(name, name === null ? null : await this.source.curation(name));
  }

  /** Show a reading that was fetched already: {document, etag}, or null for the raw result. */
  adopt(name, fetched) {
    let { document = null, etag = null } = fetched ?? {};
    this.recovered = false;
    if (name !== null) {
      const draft = this._draft(name);
      // A draft is what this browser could not send before it was closed. It counts when it goes on from the
      // version that the server still has; else the server's version is shown and the draft is offered as a copy.
      if (draft && draft.etag === etag) {
        document = draft.document;
        this.recovered = true;
      }
    }
    this.name = name;
    this.etag = etag;
    this.curation = this._curation(document);
    this.version = this.recovered ? 1 : 0;
    this.savedVersion = 0;
    this.setStatus('saved');
    this.emit('load');
    if (this.recovered) this._changed();
  }

  /** A new reading with what is on the screen now; it becomes the one that is open. */
  async copy(title) {
    const source = this.name;
    await this.settle();
    const document = {
      ...this.curation.toDocument(),
      ...newDocument({ title, author: this.author, copiedFrom: source }),
      operations: this.curation.operations.slice(0, this.curation.cursor),
      cursor: this.curation.cursor,
    };
    this._become(title);
    this.curation = this._curation(document);
    this._changed();
    this.emit('load');
    await this.settle();
  }

  _become(title) {
    this.name = slug(title, this.variants.map((one) => one.name));
    this.etag = null;
    this.variants = [...this.variants, { name: this.name, title, author: this.author }];
    this.emit('variants');
  }

  /** Say what the reading is called, whose it is, and what is to be known of it. */
  describe({ title, author, note }) {
    Object.assign(this.curation.meta, { title, author, note });
    this.variants = this.variants.map((one) => (one.name === this.name ? { ...one, title, author } : one));
    this._changed();
    this.emit('variants');
  }

  async remove(name) {
    if (this.name === name) {
      this.later.cancel();
      await this.saving;
      this.version = this.savedVersion;
      await this.open(null);
    }
    await this.source.removeCuration(name);
    this._forget(name);
    this.variants = this.variants.filter((one) => one.name !== name);
    this.emit('variants');
  }

  // -- doing ---------------------------------------------------------------------------------------------------

  /**
   * Do something: `action(curation)` gives an operation, {operation}, or null. The first thing done to the raw
   * result begins a reading of one's own; the raw result stays as it is.
   */
  act(action, { prepare } = {}) {
    const begins = this.name === null;
    const before = this.curation.cursor;
    const answer = action(this.curation);
    const operation = answer?.operation !== undefined ? answer.operation : answer;
    if (!operation || this.curation.cursor === before) return null;
    if (begins) {
      const title = this.titleFor(this.variants);
      Object.assign(this.curation.meta, newDocument({ title, author: this.author }), { title });
      delete this.curation.meta.operations;
      delete this.curation.meta.cursor;
      this._become(title);
    }
    prepare?.(operation);
    this._changed();
    this.emit('change', { operation, direction: 1, begins });
    return answer;
  }

  undo() { return this._step(() => this.curation.undo(), -1); }
  redo() { return this._step(() => this.curation.redo(), 1); }

  _step(walk, direction) {
    const operation = walk();
    if (!operation) return null;
    this._changed();
    this.emit('change', { operation, direction });
    return operation;
  }

  /** Walk along the history to the state after `cursor` operations. */
  goTo(cursor) {
    while (this.curation.cursor > cursor && this.undo());
    while (this.curation.cursor < cursor && this.redo());
  }

  // -- saving --------------------------------------------------------------------------------------------------

  _changed() {
    this.version += 1;
    this._keepDraft();
    if (this.status !== 'conflict') {
      this.setStatus('waiting');
      this.later();
    }
  }

  /** Send what is unsaved. One request at a time; what changes meanwhile is sent after it. */
  async save() {
    if (this.name === null || !this.unsaved || this.status === 'conflict') return;
    if (this.saving) {
      await this.saving;
      if (this.unsaved && this.status !== 'conflict') await this.save();
      return;
    }
    this.saving = this._send();
    await this.saving;
    this.saving = null;
    if (this.unsaved && this.status === 'saved') this.later();
  }

  async _send() {
    const { name, version } = this;
    this.setStatus('saving');
    try {
      const etag = await this.source.saveCuration(name, this.curation.toDocument(), this.etag);
      if (this.name !== name) return;
      this.etag = etag;
      this.savedVersion = version;
      if (!this.unsaved) this._forget(name);
      this.setStatus(this.unsaved ? 'waiting' : 'saved');
    } catch (error) {
      if (error.status === 412) this.setStatus('conflict');
      else {
        this.lastError = error;
        this.setStatus('offline');
        setTimeout(() => this.status === 'offline' && this.save(), RETRY_AFTER);
      }
    }
  }

  /** Save now and wait for it. */
  async settle() {
    this.later.cancel();
    await this.saving;
    if (this.unsaved) await this.save();
  }

  /** Someone else saved: keep one's own as another reading, or go on with theirs. */
  async resolve(choice, title) {
    const mine = this.curation.toDocument();
    this.later.cancel();
    this.setStatus('saved');
    this._forget(this.name);
    if (choice === 'theirs') {
      this.version = this.savedVersion;
      await this.open(this.name);
    } else {
      this._become(title);
      this.curation = this._curation({ ...mine, title });
      this._changed();
      this.emit('load');
      await this.settle();
    }
  }

  _draftKey(name) { return `dti.draft.${this.source.id}.${name}`; }

  _draft(name) {
    try {
      return JSON.parse(this.storage.getItem(this._draftKey(name)) ?? 'null');
    } catch {
      return null;
    }
  }

  _keepDraft() {
    this._draftSoon ??= debounce((name) => {
      if (!this.unsaved || this.name !== name) return;
      try {
        this.storage.setItem(this._draftKey(name), JSON.stringify({ etag: this.etag, document: this.curation.toDocument() }));
      } catch {
        // No room for a draft: the save to the server, which follows, is what counts.
      }
    }, 150);
    if (this.name !== null) this._draftSoon(this.name);
  }

  _forget(name) {
    this._draftSoon?.cancel();
    this.storage.removeItem(this._draftKey(name));
  }
}
