// New images onto the model of a finished run: which images, and off it goes. Nothing is learned anew.

import { ExperimentSource } from '../lib/api.js';
import { disposer, fill, h, uid } from '../lib/dom.js';
import { icon } from '../lib/icons.js';
import { errorsByField } from '../logic/schema.js';
import { clusterCount } from './facts.js';
import { ImagesPart } from './images.js';

const SHOWN = 24; // prototypes of the model

export function mount(element, context, route) {
  return new AssignForm(element, context, route);
}

class AssignForm {
  constructor(element, context, route) {
    Object.assign(this, context);
    this.element = element;
    this.ends = disposer();
    this.key = crypto.randomUUID?.() ?? String(Math.random());
    this.title(this.t('assign.title'));
    fill(element, h('div.page.start', null, h('h1', null, this.t('assign.title')), h('div.skeleton.block')));
    this.begin(route.query.from ?? '');
  }

  dispose() {
    this.gone = true;
    this.images?.dispose();
    this.ends.dispose();
  }

  async begin(id) {
    const { t, api } = this;
    try {
      const record = await api.experiment(id);
      if (this.gone) return;
      if (record.state !== 'succeeded') throw new Error(t('assign.unfinished', { name: record.name }));
      this.record = record;
      this.build();
      const { devices = [] } = await api.get('monitor').catch(() => ({}));
      if (!this.gone) for (const { device } of devices) this.device.append(h('option', { value: device }, device));
    } catch (error) {
      if (!this.gone) {
        fill(this.element, h('div.empty', null, icon('warning', 34), h('h1', null, t(error.status === 404 ? 'experiment.gone' : 'error.load')), h('p', null, error.status === 404 ? t('experiment.gone.hint') : error.status === 0 ? t('error.offline') : error.message),
          h('div.actions', null, this.ui.button(t('retry'), { onclick: () => this.begin(id) }), h('a.button', { href: '#/' }, t('nav.experiments')))));
      }
    }
  }

  build() {
    const { t, record, api } = this;
    const source = new ExperimentSource(api, record.id);
    this.images = new ImagesPart({ ...this, startWith: null, onChange: () => {} });
    this.problem = h('p.error-text', { hidden: true });
    this.notice = h('div', { role: 'alert', tabindex: -1 });
    this.name = h('input', { type: 'text', id: uid('field'), maxlength: 200, autocomplete: 'off', value: t('assign.name', { name: record.name || t('unnamed') }).slice(0, 200) });
    this.device = h('select', { id: uid('field') }, h('option', { value: 'auto' }, t('start.device.auto')));
    this.go = h('button.primary.big', { type: 'submit' }, icon('play', 16), h('span', null, t('assign.go')));
    this.said = h('p.muted', { role: 'status' });
    const k = clusterCount(record) ?? 0;
    const prototypes = Array.from({ length: Math.min(SHOWN, k) }, (_, at) => h('img', { alt: '', loading: 'lazy', src: source.thumbnail(`results/prototypes/prototype${at}.png`, 64), onerror: (event) => event.target.remove() }));
    const section = (number, heading, content) => {
      const id = uid('part');
      return h('section.panel.start-part', { 'aria-labelledby': id }, h('h2', { id }, h('span.step', { 'aria-hidden': 'true' }, number), heading), content);
    };
    fill(this.element, h('div.page.start', null, h('h1', null, t('assign.title')),
      h('p', null, t('assign.hint')),
      h('p', null, h('a', { href: `#/e/${encodeURIComponent(record.id)}` }, record.name || t('unnamed')), k > 0 && h('span.muted', null, ` · ${t('n.clusters', { n: k })}`)),
      h('div.begin-clusters', { 'aria-hidden': 'true' }, prototypes, k > SHOWN && h('span.muted.num', null, `+${k - SHOWN}`)),
      h('form', { novalidate: true, onsubmit: (event) => {
        event.preventDefault();
        this.submit();
      } }, this.notice,
      section(1, t('assign.images'), [this.images.element, this.problem]),
      section(2, t('start.name'), h('div.two', null, h('div', null, h('label.field', { for: this.name.id }, t('start.name.label')), this.name), h('div', null, h('label.field', { for: this.device.id }, t('start.device')), this.device))),
      h('div.start-foot', null, this.go, this.said))));
  }

  say(text) {
    this.problem.hidden = !text;
    fill(this.problem, text && [icon('warning', 16), h('span', null, text)]);
    if (text) this.images.element.querySelector('input')?.focus();
  }

  async submit() {
    const { t, api, record } = this;
    fill(this.notice);
    const problem = this.images.problem();
    this.say(problem);
    if (problem) return;
    this.go.disabled = true;
    try {
      const dataset = await this.images.ready((text) => this.said.replaceChildren(text));
      const name = this.name.value.trim();
      const request = { dataset, device: this.device.value, ...(name ? { name } : {}) };
      const made = await api.assign(record.id, request, `${this.key}-${dataset.replace(/[^!-~]/g, '').slice(-120)}`);
      this.router.go(['e', made.id]);
    } catch (error) {
      this.go.disabled = false;
      this.said.replaceChildren();
      if (error.name === 'AbortError') return;
      const lines = error.errors?.length ? [...errorsByField(error.errors)] : [['', error.status === 0 ? t('error.offline') : error.message]];
      const own = lines.find(([field]) => field === 'dataset');
      if (own) this.say(own[1]);
      const others = lines.filter((line) => line !== own).map(([field, reason]) => (field ? `${field}: ${reason}` : reason));
      if (others.length) {
        fill(this.notice, h('div.notice.bad', null, icon('warning'), h('div', null, others.map((text) => h('p', null, text)))));
        this.notice.focus();
      }
    }
  }
}
