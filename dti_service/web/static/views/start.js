// Starting an experiment: plain questions first, everything else folded away with defaults that work.

import { disposer, fill, h, uid } from '../lib/dom.js';
import { icon } from '../lib/icons.js';
import { backdrop, motif } from '../lib/motif.js';
import { safeStorage } from '../lib/store.js';
import { estimateRun } from '../logic/estimate.js';
import { changed, errorsByField, formFields, textOf, valueOf } from '../logic/schema.js';
import { clusterHint, sequenceOf, VARIATIONS, variationsOf } from '../logic/transforms.js';
import { BEGIN_FIELDS, BeginPart, severalLayers } from './begin.js';
import { imageCount } from './facts.js';
import { ImagesPart } from './images.js';

const DRAFT = 'dti.start.draft';
const OWN_PLACE = ['dataset', 'n_prototypes', 'transformation_sequence', 'background_option', 'experiment', 'device', 'experiment_dir', ...BEGIN_FIELDS];
// What lies behind the motifs, and the names that another platform has for it.
const BACKGROUNDS = ['learned', 'constant', 'ink', 'none'];
const SAME_BACKGROUND = { '1_learn_bg': 'learned', '2_const_bg': 'constant', '3_learn_fg': 'ink', '0_dti': 'none' };
// Notebooks that are run from elsewhere: by a front of its own, or by hand.
const OTHER_USES = ['dti_discover', 'explore_experiment', 'launch', 'assign_images'];
const USUAL = 'dti_clustering';
const SPRITES = 'dti_sprites';
const MOST_SWEEP = 20;

export function mount(element, context, route) {
  return new StartForm(element, context, route);
}

class StartForm {
  constructor(element, context, route) {
    Object.assign(this, context);
    this.element = element;
    this.ends = disposer();
    this.storage = safeStorage();
    this.key = crypto.randomUUID?.() ?? String(Math.random());
    this.errors = new Map();
    this.title(this.t('start.title'));
    fill(element, h('div.page.start', null, h('h1', null, this.t('start.title')), h('div.skeleton.block')));
    this.begin(route.query);
  }

  dispose() {
    this.gone = true;
    this.keepDraft();
    this.images?.dispose();
    this.ends.dispose();
  }

  /** `from`: experiment whose settings are taken over; `start`: "id" or "id/reading" whose clusters the run begins from. */
  async begin({ from = null, notebook = null, start = null }) {
    const { t, api } = this;
    from ??= start?.split('/')[0];
    try {
      const [list, former] = await Promise.all([api.notebooks(), from ? api.experiment(from) : null]);
      const usable = list.items.filter((item) => !item.error && !OTHER_USES.includes(item.name));
      if (this.gone) return;
      if (!usable.length) throw new Error(t('start.nonotebooks'));
      this.former = former;
      const draft = former ? null : this.draft();
      const wanted = (start ? null : notebook) ?? former?.notebook ?? draft?.notebook;
      // What lies in which of several layers clusters do not say: what follows such a run sorts whole images.
      this.notebooks = start ? usable.filter(({ name }) => name === USUAL || (name === SPRITES && !severalLayers(former))) : usable;
      this.curated = Boolean(start);
      const { notebooks } = this;
      await this.choose((notebooks.find(({ name }) => name === wanted) ?? notebooks.find(({ name }) => name === USUAL) ?? usable[0]).name, {
        parameters: { ...(former?.parameters ?? draft?.parameters), ...(start ? { start_from: start, start_prototypes: 'free', start_images: 'free' } : {}) },
        dataset: former?.dataset ?? former?.parameters?.dataset ?? draft?.dataset ?? null,
        name: start ? t('begin.name', { name: former.name || t('unnamed') }) : former?.name ?? draft?.name ?? '', device: former ? 'auto' : draft?.device ?? 'auto',
      });
      this.workersAndPast();
    } catch (error) {
      if (!this.gone) fill(this.element, h('div.empty', null, icon('warning', 34), h('h1', null, t('error.load')), h('p', null, error.status === 0 ? t('error.offline') : error.message), this.ui.button(t('retry'), { onclick: () => this.begin({ from, notebook, start }) })));
    }
  }

  async choose(notebook, values) {
    const answer = await this.api.notebook(notebook);
    if (this.gone) return;
    this.notebook = notebook;
    this.schema = answer.schema ?? answer;
    this.fields = formFields(this.schema).filter((field) => field.name !== 'experiment_dir');
    this.values = Object.fromEntries(this.fields.map((field) => [field.name, textOf(field, values.parameters[field.name] ?? field.default)]));
    this.nameText = values.name;
    this.deviceText = values.device;
    const sequence = values.parameters.transformation_sequence ?? this.field('transformation_sequence')?.default ?? null;
    this.varies = new Set(variationsOf(sequence));
    this.letChoose = !sequence;
    this.images?.dispose();
    this.images = new ImagesPart({ ...this, startWith: values.dataset, startCount: imageCount(this.former ?? {}) ?? NaN, onChange: () => {
      this.estimate();
      this.keepDraft();
    } });
    this.build();
  }

  field(name) { return this.fields.find((field) => field.name === name); }

  // -- building --------------------------------------------------------------------------------------------------

  build() {
    const { t } = this;
    this.inputs = new Map();
    this.problems = new Map();
    this.summary = h('div', { role: 'alert', tabindex: -1 });
    const begin = this.beginPart();
    const advanced = this.fields.filter((field) => !OWN_PLACE.includes(field.name));
    let number = 0;
    const part = (...rest) => this.part(number += 1, ...rest);
    this.advanced = h('details.panel.advanced', null, h('summary', null, t('start.advanced'), h('span.muted', null, ` ${t('start.advanced.hint')}`)), h('div.advanced-grid', null, advanced.map((field) => this.plainField(field))));
    this.go = h('button.primary.big', { type: 'submit' }, icon('play', 16), h('span', null, t('start.go')));
    this.time = h('p.muted', { role: 'status' });
    const form = h('form', { novalidate: true, onsubmit: (event) => {
      event.preventDefault();
      this.submit();
    }, onchange: () => {
      this.keepDraft();
      this.estimate();
    } },
    this.summary,
    begin && part(t('begin.title'), 'start_from', begin),
    this.field('experiment') && part(t('start.model'), 'experiment', this.modelPart()),
    part(t('start.images'), 'dataset', this.images.element),
    this.field('transformation_sequence') && part(t('start.varies'), 'transformation_sequence', this.variesPart()),
    this.field('background_option') && part(t('start.background'), 'background_option', this.backgroundPart()),
    this.field('n_prototypes') && part(t('start.clusters'), 'n_prototypes', this.clustersPart()),
    part(t('start.name'), 'name', this.namePart()),
    this.advanced,
    h('div.start-foot', null, this.go, this.time));
    fill(this.element, h('div.page.start', null, h('h1', null, t(this.curated ? 'begin.heading' : this.former ? 'start.again' : 'start.title')), this.former?.notebook === this.notebook && h('p.muted', null, t('start.again.of', { name: this.former.name })), this.kindPart(), form));
    if (this.curated) this.title(t('begin.heading'));
    this.estimate();
  }

  /** From which clusters the run begins, when it does. */
  beginPart() {
    if (!this.values.start_from || !this.field('start_from')) return null;
    const begin = new BeginPart({ ...this, onLeave: () => {
      for (const name of BEGIN_FIELDS) this.values[name] = textOf(this.field(name), this.field(name).default);
      this.curated = false;
      this.build();
    } });
    begin.load().then((count) => {
      if (this.gone || !this.curated) return;
      const input = this.inputs.get('n_prototypes');
      input.value = this.values.n_prototypes = String(count);
      this.estimate();
    }).catch((error) => !this.gone && this.showErrors(new Map([['start_from', error.status === 0 ? this.t('error.offline') : error.status === 404 ? this.t('begin.gone') : error.message]])));
    return begin.element;
  }

  /** A notebook that applies the model of a finished run: which one, by its name. */
  modelPart() {
    const { t, api } = this;
    const known = this.values.experiment;
    const select = h('select', { id: uid('field'), 'aria-describedby': this.describe('experiment'), onchange: () => {
      this.values.experiment = select.value;
    } }, h('option', { value: '' }, t('versus.choose')));
    this.inputs.set('experiment', select);
    api.experiments({ state: 'succeeded', limit: 100 }).then(({ items }) => {
      for (const item of items) select.append(h('option', { value: item.id, selected: item.id === known }, [item.name || t('unnamed'), this.i18n.date(item.created_at)].join(' · ')));
    }).catch((error) => this.ui.failure(error));
    return h('div', null, h('label.field', { for: select.id }, t('start.model.label')), select);
  }

  part(number, label, name, content) {
    const heading = uid('part');
    const problem = this.problemFor(name);
    return h('section.panel.start-part', { 'aria-labelledby': heading, dataset: { field: name } }, h('h2', { id: heading }, h('span.step', { 'aria-hidden': 'true' }, number), label), content, problem);
  }

  problemFor(name) {
    const element = h('p.error-text', { id: uid('problem'), hidden: true });
    this.problems.set(name, element);
    return element;
  }

  /** With several notebooks to run, which kind of search is meant. */
  kindPart() {
    const { t } = this;
    if (this.notebooks.length < 2) return null;
    return h('fieldset.kinds', null, h('legend.visually-hidden', null, t('start.kind')), this.notebooks.map(({ name, title, description }) => h('label.kind', null,
      h('input', { type: 'radio', name: 'notebook', value: name, checked: name === this.notebook, onchange: () => this.choose(name, { parameters: this.typed(), dataset: this.images.value(), name: this.nameText, device: this.deviceText }).catch((error) => this.ui.failure(error)) }),
      h('span', null, h('strong', null, kindWord(name, title, t)), h('span.muted', null, kindHint(name, description, t))))));
  }

  variesPart() {
    const { t } = this;
    const model = h('p.muted', { role: 'status' });
    const show = () => {
      model.textContent = this.letChoose ? t('start.varies.auto') : t('start.varies.model', { sequence: sequenceOf(this.varies).replaceAll('_', ' + ') });
      auto.checked = this.letChoose;
      for (const box of boxes) box.checked = !this.letChoose && this.varies.has(box.value);
    };
    const auto = h('input', { type: 'checkbox', onchange: () => {
      this.letChoose = auto.checked;
      if (this.letChoose) this.varies.clear();
      show();
    } });
    const boxes = [];
    const cards = VARIATIONS.map((key) => {
      const box = h('input', { type: 'checkbox', value: key, onchange: () => {
        if (box.checked) this.varies.add(key);
        else this.varies.delete(key);
        this.letChoose = false;
        show();
      } });
      boxes.push(box);
      return h('label.variation', null, h('span.variation-top', null, box, h('strong', null, t(`vary.${key}`))), motif(key), h('span.muted', null, t(`vary.${key}.hint`)));
    });
    this.inputs.set('transformation_sequence', auto);
    const element = h('div', null, h('p.hint', null, t('start.varies.hint')), h('label.check-line', null, auto, h('span', null, t('start.varies.choose'))), h('div.variations', { role: 'group', 'aria-label': t('start.varies') }, cards), model);
    show();
    return element;
  }

  backgroundPart() {
    const { t } = this;
    const now = SAME_BACKGROUND[this.values.background_option] ?? this.values.background_option;
    const inputs = BACKGROUNDS.map((key) => h('input', { type: 'radio', name: 'background', value: key, checked: key === now, onchange: () => {
      this.values.background_option = key;
    } }));
    this.inputs.set('background_option', inputs.find((input) => input.checked) ?? inputs[0]);
    return h('div.variations', { role: 'radiogroup', 'aria-label': t('start.background') }, BACKGROUNDS.map((key, at) => h('label.variation', null,
      h('span.variation-top', null, inputs[at], h('strong', null, t(`background.${key}`))), backdrop(key), h('span.muted', null, t(`background.${key}.hint`)))));
  }

  clustersPart() {
    const { t } = this;
    const input = h('input.short', { type: 'text', inputmode: 'numeric', id: uid('field'), value: this.values.n_prototypes, autocomplete: 'off', 'aria-describedby': this.describe('n_prototypes'), oninput: () => {
      this.values.n_prototypes = input.value;
      this.estimate();
    } });
    this.inputs.set('n_prototypes', input);
    this.hint = h('p.hint');
    return h('div', null, h('label.field', { for: input.id }, t('start.clusters.label')), input, this.hint, h('p.hint', null, t('start.clusters.sweep')));
  }

  describe(name) {
    if (!this.problems.has(name)) this.problemFor(name);
    return this.problems.get(name).id;
  }

  namePart() {
    const { t } = this;
    const input = h('input', { type: 'text', id: uid('field'), value: this.nameText, maxlength: 200, autocomplete: 'off', oninput: () => {
      this.nameText = input.value;
    } });
    this.inputs.set('name', input);
    this.device = h('select', { id: uid('field'), onchange: () => {
      this.deviceText = this.device.value;
      this.estimate();
    } }, h('option', { value: 'auto' }, t('start.device.auto')));
    this.inputs.set('device', this.device);
    return h('div.two', null, h('div', null, h('label.field', { for: input.id }, t('start.name.label')), input, h('p.hint', null, t('start.name.hint'))), h('div', null, h('label.field', { for: this.device.id }, t('start.device')), this.device));
  }

  plainField(field) {
    const { t } = this;
    const id = uid('field');
    const describe = `${id}-help`;
    const problem = this.problemFor(field.name);
    let input;
    const set = () => {
      this.values[field.name] = field.type === 'boolean' ? input.checked : input.value;
    };
    if (field.type === 'boolean') input = h('input', { type: 'checkbox', id, checked: this.values[field.name] === 'true', onchange: set });
    else if (field.type === 'choice') {
      input = h('select', { id, onchange: set }, field.choices.map((choice) => h('option', { value: choice ?? '', selected: String(choice ?? '') === this.values[field.name] }, choice === null ? t('start.preset.decides') : choiceWord(choice, t))));
    } else {
      input = h('input', { type: 'text', id, value: this.values[field.name], autocomplete: 'off', inputmode: ['integer', 'number'].includes(field.type) ? 'decimal' : null, placeholder: field.nullable ? t('start.preset.decides') : null, oninput: set });
    }
    input.setAttribute('aria-describedby', `${describe} ${problem.id}`);
    this.inputs.set(field.name, input);
    const limits = field.min !== null && field.max !== null ? t('start.limits', { min: field.min, max: field.max }) : '';
    const help = t(`parameter.${field.name}.help`) === `parameter.${field.name}.help` ? field.help : t(`parameter.${field.name}.help`);
    return h('div.advanced-field', { dataset: { field: field.name } }, h('label.field', { for: id }, t(`parameter.${field.name}`) === `parameter.${field.name}` ? field.name.replaceAll('_', ' ') : t(`parameter.${field.name}`)), input,
      h('p.hint', { id: describe }, [help && !/[.!?…]$/.test(help) ? `${help}.` : help, limits].filter(Boolean).join(' ')), problem);
  }

  // -- estimate --------------------------------------------------------------------------------------------------

  async workersAndPast() {
    const { api } = this;
    const [monitor, past] = await Promise.all([api.get('monitor').catch(() => null), api.experiments({ state: 'succeeded', notebook: this.notebook, limit: 50 }).catch(() => null)]);
    if (this.gone) return;
    this.devices = (monitor?.devices ?? []).map(({ device }) => device);
    for (const { device, name } of monitor?.devices ?? []) this.device.append(h('option', { value: device, selected: device === this.deviceText }, [device, name && name !== device ? `(${name})` : ''].filter(Boolean).join(' ')));
    this.past = past?.items ?? [];
    this.estimate();
  }

  /** What is said of the time, and of a sensible number of clusters. */
  estimate() {
    if (!this.time) return;
    const { t, i18n } = this;
    const n = this.images.count();
    if (this.hint) {
      const hint = clusterHint(n);
      this.hint.textContent = hint ? t('start.clusters.hint', { n, few: hint[0], some: hint[1], many: hint[2] }) : t('start.clusters.hint.unknown');
    }
    const device = this.deviceText === 'auto' ? (this.devices ?? []).find((one) => one.startsWith('cuda')) ?? 'cpu' : this.deviceText;
    const parameters = { ...this.typed(), dataset: this.images.value() };
    const numbers = this.numbers().map(Number).filter((k) => k > 0);
    const parts = (numbers.length ? numbers : [undefined]).map((k) => estimateRun({
      n, parameters: { ...parameters, n_prototypes: k }, device, past: this.past, modelled: this.notebook === USUAL }));
    if (!this.past || parts.includes(null)) {
      this.time.textContent = '';
      return;
    }
    const time = i18n.roughly(parts.reduce((sum, one) => sum + one.seconds, 0));
    this.time.textContent = parts[0].runs ? t('start.estimate', { time, n: parts[0].runs }) : t('start.estimate.rough', { time });
  }

  /** "10", or "8, 10, 12" for one run of each. */
  numbers() {
    return String(this.values.n_prototypes ?? '').split(/[,;\s]+/).filter(Boolean);
  }

  // -- sending ---------------------------------------------------------------------------------------------------

  /** Typed values of all fields; what cannot be read is noted as an error. */
  typed(errors = new Map()) {
    const out = {};
    for (const field of this.fields) {
      if (['dataset', 'device', 'n_prototypes'].includes(field.name)) continue;
      if (field.name === 'transformation_sequence') {
        out[field.name] = this.letChoose ? field.default : sequenceOf(this.varies);
        continue;
      }
      const { value, error, params } = valueOf(field, this.values[field.name]);
      if (error) errors.set(field.name, this.t(error, params));
      else out[field.name] = value;
    }
    const field = this.field('n_prototypes');
    if (field) {
      const [first] = this.numbers();
      const { value } = valueOf(field, first ?? '');
      out.n_prototypes = value;
    }
    return out;
  }

  async submit() {
    const { t, ui } = this;
    const errors = new Map();
    const values = this.typed(errors);
    const field = this.field('n_prototypes');
    const numbers = field ? this.numbers() : [];
    const ks = numbers.map((text) => valueOf(field, text));
    const wrong = ks.find((one) => one.error);
    if (wrong) errors.set('n_prototypes', t(wrong.error, wrong.params));
    if (numbers.length > MOST_SWEEP) errors.set('n_prototypes', t('start.sweep.many', { n: MOST_SWEEP }));
    if (this.field('experiment') && !this.values.experiment) errors.set('experiment', t('start.model.missing'));
    const where = this.images.problem();
    if (where) errors.set('dataset', where);
    if (errors.size) {
      this.showErrors(errors);
      return;
    }
    this.showErrors(new Map());
    this.go.disabled = true;
    try {
      const dataset = await this.images.ready((text) => this.time.replaceChildren(text));
      const wanted = ks.length ? ks.map((one) => one.value) : [null];
      const made = [];
      // Runs of a sweep are told apart by their names, also when nobody gave one.
      const typed = this.nameText.trim();
      const kind = this.notebooks.find(({ name }) => name === this.notebook);
      const base = typed || [kindWord(kind.name, kind.title, t), this.images.label()].filter(Boolean).join(': ');
      for (const k of wanted) {
        const parameters = changed(this.fields, { ...values, ...(k === null ? {} : { n_prototypes: k }) });
        delete parameters.dataset;
        const name = wanted.length > 1 ? t('start.sweep.name', { name: base, k: String(k) }) : typed || null;
        const request = { notebook: this.notebook, parameters, device: this.deviceText, ...(dataset ? { dataset } : {}), ...(name ? { name } : {}) };
        // The same key for the same request: pressing twice, or trying again after a lost answer, starts it once.
        made.push(await this.api.submit(request, await this.idempotencyKey(request)));
      }
      this.storage.removeItem(DRAFT);
      this.sent = true;
      if (made.length === 1) this.router.go(['e', made[0].id]);
      else {
        ui.toast(t('start.sweep.sent', { n: made.length }));
        this.router.go(['compare'], { ids: made.map((one) => one.id).join(',') });
      }
    } catch (error) {
      this.go.disabled = false;
      this.estimate();
      if (error.errors?.length) this.showErrors(errorsByField(error.errors), error.message);
      else if (error.name !== 'AbortError') {
        this.showErrors(new Map([['', error.status === 0 ? t('error.offline') : error.message]]));
      }
    }
  }

  async idempotencyKey(request) {
    const text = new TextEncoder().encode(this.key + JSON.stringify(request));
    if (!crypto.subtle) return `${this.key}-${request.parameters.n_prototypes ?? ''}`;
    const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', text));
    return [...hash.slice(0, 16)].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  }

  /** All errors at once, each beside its field, and a list of them at the top. Nothing typed is lost. */
  showErrors(errors, message = '') {
    const { t } = this;
    for (const [name, element] of this.problems) {
      const text = errors.get(name);
      element.hidden = !text;
      fill(element, text && [icon('warning', 16), h('span', null, text)]);
      const input = this.inputs.get(name);
      if (input) {
        if (text) input.setAttribute('aria-invalid', 'true');
        else input.removeAttribute('aria-invalid');
      }
    }
    if (!errors.size) {
      fill(this.summary);
      return;
    }
    if ([...errors.keys()].some((name) => this.advanced.querySelector(`[data-field="${CSS.escape(name)}"]`))) this.advanced.open = true;
    fill(this.summary, h('div.notice.bad', null, icon('warning'), h('div', null, h('strong', null, t('form.errors', { n: errors.size })), h('ul', null, [...errors].map(([name, text]) => h('li', null,
      this.inputs.has(name) || this.problems.has(name) ? h('button.link', { type: 'button', onclick: () => this.focusField(name) }, this.label(name)) : null, this.inputs.has(name) || this.problems.has(name) ? ': ' : '', text))))));
    void message;
    this.summary.scrollIntoView({ block: 'nearest' });
    const [first] = errors.keys();
    this.focusField(this.inputs.has(first) ? first : null);
  }

  label(name) {
    const known = { experiment: 'start.model', background_option: 'start.background', start_from: 'begin.title', dataset: 'start.images', n_prototypes: 'start.clusters', transformation_sequence: 'start.varies', name: 'start.name' }[name];
    return known ? this.t(known) : name.replaceAll('_', ' ');
  }

  focusField(name) {
    const target = name === 'dataset' ? this.images.element.querySelector('input, button, textarea, select') : this.inputs.get(name);
    (target ?? this.summary).focus();
    target?.scrollIntoView({ block: 'center' });
  }

  // -- nothing is lost -------------------------------------------------------------------------------------------

  draft() {
    try {
      return JSON.parse(this.storage.getItem(DRAFT) ?? 'null');
    } catch {
      return null;
    }
  }

  keepDraft() {
    if (!this.fields || !this.images || this.sent || this.former) return;
    try {
      this.storage.setItem(DRAFT, JSON.stringify({ notebook: this.notebook, parameters: this.typed(), dataset: this.images.value(), name: this.nameText, device: this.deviceText }));
    } catch {
      // Without storage the form lasts as long as the page.
    }
  }
}

/** A choice in plain words where there are some. */
function choiceWord(choice, t) {
  const word = t(`choice.${choice}`);
  return word === `choice.${choice}` ? String(choice) : word;
}

function kindWord(name, title, t) {
  const word = t(`kind.${name}`);
  return word === `kind.${name}` ? title : word;
}

function kindHint(name, description, t) {
  const word = t(`kind.${name}.hint`);
  return word === `kind.${name}.hint` ? String(description ?? '').replace(/[*_`]/g, '').slice(0, 180) : word;
}
