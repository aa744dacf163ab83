// The part of the start form that tells from which clusters a run begins, and what of them may change.

import { ExperimentSource } from '../lib/api.js';
import { fill, h } from '../lib/dom.js';
import { icon } from '../lib/icons.js';
import { Pictures } from '../lib/pictures.js';
import { Curation, UNSORTED } from '../logic/curation.js';
import { Result } from '../logic/table.js';

/** The parameters that this part sets. */
export const BEGIN_FIELDS = ['start_from', 'start_prototypes', 'start_images'];
const CHOICES = { start_prototypes: ['free', 'fixed'], start_images: ['free', 'pinned'] };

/** Did a run take images apart into several layers? */
export const severalLayers = (record) => record?.notebook === 'dti_sprites' && record.parameters?.n_layers > 1;

export class BeginPart {
  /** Of the form: api, t, ui, notebook; `values`: texts of the fields by name, written to; `onLeave()`: begin afresh instead. */
  constructor({ api, t, ui, notebook, values, onLeave }) {
    Object.assign(this, { api, t, ui, notebook, values });
    const [id, reading] = values.start_from.split('/');
    Object.assign(this, { id, reading });
    this.words = h('p.begin-from', null, h('span.skeleton.line'));
    this.clusters = h('div.begin-clusters', { 'aria-hidden': 'true' });
    this.note = h('div');
    this.element = h('div', null, this.words, this.clusters, this.note,
      h('div.two.even', null, Object.keys(CHOICES).map((name) => this.choice(name))),
      h('p', null, ui.button(t('begin.leave'), { iconName: 'close', onclick: onLeave })));
  }

  choice(name) {
    const { t } = this;
    return h('fieldset.begin-choice', null, h('legend.field-label', null, t(`begin.${name}`)), CHOICES[name].map((value) => h('label.check-line', null,
      h('input', { type: 'radio', name: `begin-${name}`, value, checked: (this.values[name] || 'free') === value, onchange: () => {
        this.values[name] = value;
      } }), h('span', null, h('strong', null, t(`begin.${name}.${value}`)), h('span.muted', null, ` ${t(`begin.${name}.${value}.hint`)}`)))));
  }

  /** Look at what the run begins from; gives the number of its clusters. */
  async load() {
    const { t, api, id, reading } = this;
    const source = new ExperimentSource(api, id);
    const [record, members, document] = await Promise.all([source.record(), source.members(), reading ? source.curation(reading).then((one) => one.document) : null]);
    if (members === null) throw new Error(t('versus.noresult', { name: record.name }));
    const result = Result.of(members, { k: record.metrics?.n_prototypes ?? 0 });
    const curation = new Curation(result, document, { nameOf: (k) => t('cluster.n', { k: String(k) }) });
    const pictures = new Pictures(source, result);
    const clusters = curation.order.filter((one) => one !== UNSORTED && curation.members(one).length);
    const name = h('a', { href: `#/e/${encodeURIComponent(id)}${reading ? `?v=${encodeURIComponent(reading)}` : ''}` }, record.name || t('unnamed'));
    const [before, after] = t(reading ? 'begin.reading' : 'begin.raw', { name: '\u0000', reading: document?.title || reading, n: clusters.length }).split('\u0000');
    fill(this.words, before, name, after);
    const note = this.notebook === 'dti_sprites' ? (result.masked ? null : 'begin.masks') : severalLayers(record) ? 'begin.layers' : record.notebook === 'dti_sprites' ? 'begin.sprites' : null;
    fill(this.note, note && h('p.notice.begin-note', { role: 'note' }, icon('help', 18), h('span', null, t(note))));
    fill(this.clusters, clusters.map((one) => h('span', { title: curation.name(one) }, pictures.prototypeImage(curation.cluster(one), 56))));
    return clusters.length;
  }
}
