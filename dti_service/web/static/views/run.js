// A run while it lasts: how far it is, what forms, and the way to stop it. Ends by becoming the result.

import { disposer, fill, h } from '../lib/dom.js';
import { lineChart } from '../lib/chart.js';
import { icon } from '../lib/icons.js';
import { formatHash } from '../lib/router.js';
import { bestSheet, drawTile, layoutOf } from './forming.js';
import { beganFrom, modelOf } from './learn.js';
import { datasetFact, elapsed, isActive, isOver, notebookWord, parameterFacts, unitWord } from './facts.js';
import { factList } from './about.js';

const POLL = 3000;
const LOG_LINES = 400;

export class RunView {
  /** Context of the page, and: source, record, onDone(record), onPartial(record) -> Promise of success. */
  constructor(element, options) {
    Object.assign(this, options);
    this.element = element;
    this.ends = disposer();
    this.losses = [];
    this.said = 0;
    this.sheets = new Map();
    this.formedAt = ''; // when the shown prototypes were written, in words
    this.build();
    this.follow();
    this.paint();
    this.ends.interval(() => this.tick(), 1000);
    this.ends.interval(() => this.poll(), POLL);
    this.ends.listen(document, 'visibilitychange', () => !document.hidden && this.poll());
  }

  dispose() {
    this.gone = true;
    this.close?.();
    this.ends.dispose();
  }

  build() {
    const { t, i18n, ui } = this;
    this.name = h('h1', { tabindex: -1 }, this.record.name || t('unnamed'));
    this.state = h('span.state');
    this.actions = h('div.run-actions');
    this.bar = h('progress', { 'aria-label': t('progress') });
    this.phase = h('strong');
    this.words = h('span.muted.num');
    this.times = h('span.muted.num');
    this.link = h('span.offline-note', { hidden: true, role: 'status' }, t('run.lost'));
    this.error = h('div');
    this.ready = h('div.run-ready-place', { role: 'status' });
    this.progress = h('section.panel.run-progress', { 'aria-label': t('progress') }, h('div.run-line', null, this.phase, this.link, h('span.spacer'), this.times), this.bar, this.words);
    this.forming = h('div.forming');
    this.formingNote = h('p.muted');
    this.chart = lineChart({ label: t('chart.loss'), i18n, width: 420, height: 190 });
    this.notes = h('ul.run-notes', { 'aria-label': t('run.notes') });
    this.log = h('pre.run-log', { tabindex: 0, 'aria-label': t('link.log') });
    this.logBox = h('details.panel', { ontoggle: () => this.readLog() }, h('summary', null, t('link.log')), this.log);
    this.curves = h('section.panel', null, h('h2', null, t('about.curves')), this.chart.element, this.notes);
    const { record } = this;
    const labels = modelOf(record) !== null; // it learns nothing: there are no prototypes that form, and no loss
    fill(this.element, h('div.page.run', null,
      h('header.run-head', null, h('a.icon-button.button', { href: '#/', 'aria-label': t('nav.experiments'), title: t('nav.experiments') }, icon('back')), this.name, this.state, h('span.spacer'), this.actions),
      this.ready, this.error, this.progress,
      h('div.run-columns', null,
        !labels && h('section.panel', null, h('h2', null, t('run.forming')), this.formingNote, this.forming),
        h('div.run-side', null, !labels && this.curves,
          h('section.panel', null, h('h2', null, t('about.parameters')), factList([[t('about.notebook'), notebookWord(record.notebook, this)], [t('about.dataset'), datasetFact(record, this.api, this)], [t('about.device'), record.device], [t('about.owner'), record.owner],
            ...parameterFacts(record, this)])))),
      this.logBox));
    void ui;
  }

  // -- following -------------------------------------------------------------------------------------------------

  follow() {
    this.close = this.source.events({
      onEvent: (event) => this.onEvent(event),
      onState: (state) => {
        this.link.hidden = state === 'open' || !isActive(this.record);
      },
    });
  }

  onEvent(event) {
    if (this.gone) return;
    if (event.kind === 'progress') this.record.progress = { ...this.record.progress, ...event };
    else if (event.kind === 'metrics') {
      if (Number.isFinite(event.values?.loss)) this.losses.push([event.iteration, event.values.loss]);
      this.chartSoon();
      return;
    } else if (event.kind === 'image') this.sheets.set(event.name ?? event.caption ?? event.path, event);
    else if (event.kind === 'cell') this.record.cell = event;
    else if (event.kind === 'warning') this.say(event.message, 'warning');
    else if (event.kind === 'event') this.say(this.eventWords(event));
    else if (event.kind === 'state' || event.kind === 'end') this.poll(true);
    this.paintSoon();
  }

  /** Many events come at once when a page is opened late: they are drawn together. */
  paintSoon() {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      if (this.gone) return;
      this.paint();
      this.drawSheet();
    });
  }

  chartSoon() {
    this.chartTimer ||= setTimeout(() => {
      this.chartTimer = 0;
      if (this.gone) return;
      this.curves.hidden = false;
      this.losses.sort((a, b) => a[0] - b[0]);
      this.chart.update(this.losses);
    }, 250);
  }

  eventWords(event) {
    const key = `run.event.${event.name}`;
    const text = this.t(key, { ...event, n: event.iteration ?? 0 });
    return text === key ? null : text;
  }

  say(text, tone = '') {
    if (!text) return;
    this.notes.prepend(h('li', { class: tone }, tone === 'warning' && icon('warning', 14), text));
    while (this.notes.children.length > 12) this.notes.lastElementChild.remove();
  }

  /** Ask for the record: queue positions and ends come from it. */
  async poll(now = false) {
    if (this.gone || this.asking || (!now && document.hidden) || (!now && isOver(this.record))) return;
    this.asking = true;
    try {
      const { cell } = this.record;
      const before = this.record.state;
      const fresh = await this.source.record();
      if (this.gone) return;
      // Events are ahead of the record: what they told of the progress stays.
      const events = this.record.progress;
      this.record = { ...fresh, cell };
      if (fresh.state === 'running' && (events?.step ?? 0) > (fresh.progress?.step ?? 0)) this.record.progress = events;
      if (before !== fresh.state) await this.changed(before);
      if (!this.gone) this.paint();
      this.link.hidden = true;
    } catch {
      this.link.hidden = false;
    } finally {
      this.asking = false;
    }
  }

  async changed() {
    const { record, t, ui } = this;
    if (record.state === 'succeeded') {
      this.close?.();
      // Whoever reads the log, or has scrolled down, is not interrupted: the result waits.
      if (this.logBox.open || this.element.scrollTop > 0) {
        this.offer(record);
        return;
      }
      if (await this.onDone(record)) return;
    }
    ui.announce(t('run.state', { name: record.name, state: t(`state.${record.state}`) }), { now: true });
    if (isOver(record)) this.logBox.open = record.state === 'failed';
  }

  /** The result is there, and takes its place when the reader says so. */
  offer(record) {
    const show = async () => {
      if (!(await this.onDone(record))) this.ui.toast(this.t('run.partial.none'));
    };
    fill(this.ready, h('div.notice.run-ready', null, icon('check'), h('strong', null, this.t('run.done', { name: record.name })), h('span.spacer'),
      this.ui.button(this.t('run.show'), { primary: true, iconName: 'eye', onclick: show })));
  }

  tick() {
    if (isActive(this.record)) this.paintTimes();
    if (this.logBox.open && isActive(this.record)) this.readLog();
  }

  // -- drawing ---------------------------------------------------------------------------------------------------

  paint() {
    const { record, t, i18n } = this;
    const { progress = {} } = record;
    this.state.dataset.state = record.state;
    this.state.textContent = t(`state.${record.state}`);
    const known = progress?.total > 0;
    const share = known ? (progress.step ?? 0) / progress.total : 0;
    const percent = i18n.percent(Math.floor(share * 100) / 100);
    const running = record.state === 'running' || record.state === 'cancelling';
    this.progress.hidden = isOver(record) && record.state !== 'succeeded';
    this.bar.max = known ? progress.total : 1;
    if (record.state === 'succeeded') this.bar.value = this.bar.max;
    else if (known) this.bar.value = progress.step ?? 0;
    else if (record.state === 'queued') this.bar.value = 0;
    else this.bar.removeAttribute('value');
    this.progress.hidden ||= Boolean(this.ready.firstChild);
    this.phase.textContent = record.state === 'queued' ? (record.queue_position ? t('queue.position', { n: record.queue_position }) : t('queue.waiting'))
      : record.state === 'cancelling' ? t('run.stopping') : record.state === 'succeeded' ? t('run.finishing') : known ? percent : t('progress.starting');
    this.words.textContent = [running && known && t('progress.of', { step: progress.step ?? 0, total: progress.total, unit: unitWord(progress.unit, i18n) }), running && phaseWords(progress.phase, t),
      running && record.cell?.total && t('run.cell', { at: record.cell.index + 1, total: record.cell.total }), record.state === 'queued' && t('queue.hint')].filter(Boolean).join(' · ');
    this.paintTimes();
    this.title(record.state === 'running' && known ? `${percent} · ${record.name}` : `${t(`state.${record.state}`)} · ${record.name}`);
    const quarter = Math.floor(share * 4);
    if (running && known && quarter > this.said) {
      this.said = quarter;
      this.ui.announce(t('run.progress.say', { percent, name: record.name }));
    }
    this.drawActions();
    this.drawError();
    this.curves.hidden = isOver(record) && !this.losses.length && !this.notes.firstChild;
    this.formingNote.textContent = this.sheets.size ? this.formedAt : t(isActive(record) ? 'run.forming.none' : 'run.forming.never');
  }

  paintTimes() {
    const { record, t, i18n } = this;
    const spent = elapsed(record);
    const left = record.state === 'running' ? record.progress?.eta_s : null;
    this.times.textContent = [spent !== null && t('run.elapsed', { time: i18n.duration(spent) }), Number.isFinite(left) && left > 0 && t('progress.left', { time: i18n.duration(left) })].filter(Boolean).join(' · ');
  }

  drawActions() {
    const { record, t, ui } = this;
    const key = `${record.state}/${record.error?.kind ?? ''}`;
    if (this.actionsKey === key) return;
    this.actionsKey = key;
    const over = isOver(record);
    fill(this.actions,
      isActive(record) && ui.button(t('cancel.run'), { iconName: 'stop', className: 'bad', disabled: record.state === 'cancelling', onclick: () => this.cancel() }),
      over && record.state !== 'succeeded' && record.error?.kind !== 'bad_input' && ui.button(t('run.resume'), { iconName: 'play', onclick: () => this.again({ resume_from: record.id }) }),
      over && h('a.button', { href: `#/new?from=${encodeURIComponent(record.id)}` }, icon('rotate', 16), t('rerun.changes')),
      beganFrom(record) && record.state === 'succeeded' && h('a.button', { href: formatHash(['compare'], { a: beganFrom(record), b: record.id }) }, icon('compare', 16), t('learn.changed')),
      over && record.state !== 'succeeded' && ui.button(t('run.partial'), { iconName: 'eye', onclick: () => this.partial() }));
  }

  drawError() {
    const { record, t } = this;
    const key = JSON.stringify([record.state, record.error]);
    if (this.errorKey === key) return;
    this.errorKey = key;
    if (record.state === 'failed') {
      const { kind = 'unknown', message = '', cell = null } = record.error ?? {};
      fill(this.error, h('div.notice.bad', { role: 'alert' }, icon('warning'), h('div', null, h('strong', null, t(`error.kind.${kind}`)), h('p', null, message), h('p', null, t(`error.remedy.${kind}`)),
        h('p', null, h('a', { href: this.source.link('notebook.html'), target: '_blank', rel: 'noopener' }, cell === null ? t('link.notebook') : t('run.cell.link', { cell: cell + 1 }))))));
    } else if (record.state === 'cancelled') fill(this.error, h('div.notice.warn', null, icon('stop'), h('p', null, t('run.cancelled'))));
    else fill(this.error);
  }

  /** The prototypes of now, cut out of the one picture that the run writes. */
  drawSheet() {
    const event = bestSheet(this.sheets);
    if (!event || event === this.drawn || this.drawing) return;
    this.drawing = true;
    const image = new Image();
    const done = () => {
      this.drawing = false;
      if (!this.gone && bestSheet(this.sheets) !== event) this.drawSheet();
    };
    image.onerror = () => {
      this.drawn = event; // already replaced by a later picture
      done();
    };
    image.onload = () => {
      this.drawn = event;
      if (!this.gone) this.cut(image, event);
      done();
    };
    image.src = this.source.file(event.path);
  }

  cut(image, event) {
    const { t, i18n } = this;
    const tiles = layoutOf(event, image);
    while (this.forming.children.length > tiles.count) this.forming.lastElementChild.remove();
    for (let k = 0; k < tiles.count; k += 1) {
      let figure = this.forming.children[k];
      if (!figure) {
        figure = h('figure', null, h('canvas', { role: 'img', 'aria-label': t('prototype.of', { name: t('cluster.n', { k: String(k) }) }) }), h('figcaption.num', null, String(k)));
        this.forming.append(figure);
      }
      const canvas = figure.firstElementChild;
      drawTile(canvas, image, event, k);
      canvas.classList.toggle('small-source', tiles.width < 120);
    }
    this.formedAt = Number.isFinite(event.iteration) ? t('run.at', { n: i18n.number(event.iteration) }) : '';
    this.formingNote.textContent = this.formedAt;
  }

  async readLog() {
    if (!this.logBox.open || this.reading) return;
    this.reading = true;
    try {
      const text = await this.source.log(LOG_LINES);
      const end = this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < 40;
      if (this.log.textContent !== text) this.log.textContent = text || this.t('run.log.empty');
      if (end) this.log.scrollTop = this.log.scrollHeight;
    } catch {
      this.log.textContent ||= this.t('run.log.empty');
    } finally {
      this.reading = false;
    }
  }

  // -- doing -------------------------------------------------------------------------------------------------------

  async cancel() {
    const { t, ui, record } = this;
    try {
      await this.api.cancel(record.id);
      ui.toast(t('cancel.sent', { name: record.name }));
      await this.poll(true);
    } catch (error) {
      ui.failure(error);
    }
  }

  async again(changes) {
    try {
      const made = await this.api.rerun(this.record.id, changes);
      this.router.go(['e', made.id]);
    } catch (error) {
      this.ui.failure(error.errors?.length ? new Error(error.errors.map((one) => one.reason).join('; ')) : error);
    }
  }

  async partial() {
    const { items } = await this.api.get(`experiments/${this.record.id}/artifacts`, { prefix: 'cluster_by_path.csv', limit: 1 }).catch(() => ({ items: [] }));
    if (!items.length || !(await this.onPartial(this.record))) this.ui.toast(this.t('run.partial.none'));
  }
}

/** What a run says it is at, in the reader's language where it is one of the usual phrases. */
function phaseWords(phase, t) {
  const [, epoch, epochs] = /^training, epoch (\d+) of (\d+)$/.exec(phase ?? '') ?? [];
  if (epoch) return t('phase.training', { epoch: Number(epoch), epochs: Number(epochs) });
  const key = `phase.${String(phase ?? '').replace(/\W+/g, '_')}`;
  return t(key) === key ? phase : t(key);
}
