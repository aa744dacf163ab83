// The column at the right: about the run, the history of what was done, the tray.

import { fill, h } from '../lib/dom.js';
import { icon } from '../lib/icons.js';
import { describe } from './words.js';

const HISTORY_SHOWN = 200;

export class Dock {
  constructor(element, view) {
    this.element = element;
    this.view = view;
    this.tab = null;
  }

  show(tab) {
    const { view } = this;
    const { t } = view.ui;
    this.tab = tab;
    this.element.hidden = tab === null;
    view.body.classList.toggle('with-dock', tab !== null);
    if (tab === null) return;
    this.body = h('div.dock-body');
    fill(this.element, h('header.dock-head', null, h('h2', null, t(`dock.${tab}`)), view.ui.iconButton(t('close'), 'close', () => view.toggleDock(tab, false))), this.body);
    if (tab === 'about') {
      const { body } = this;
      import('./about.js').then(({ aboutPanel }) => aboutPanel(body, view)).catch((error) => view.ui.failure(error));
    }
    this.draw();
  }

  draw() {
    if (this.tab === 'history') this.drawHistory();
    else if (this.tab === 'tray') this.drawTray();
  }

  drawHistory() {
    const { view } = this;
    const { t, i18n } = view.ui;
    const { curation, name } = view.session;
    if (!curation.operations.length) {
      fill(this.body, h('p.muted', null, t(name === null ? 'history.raw' : 'history.none')));
      return;
    }
    const steps = curation.operations.map((operation, at) => ({ operation, at: at + 1 })).reverse();
    const shown = this.allHistory ? steps : steps.slice(0, HISTORY_SHOWN);
    fill(this.body, h('p.hint', null, t('history.hint')), h('ol.history', null,
      shown.map(({ operation, at }) => {
        const done = at <= curation.cursor;
        return h('li', null, h('button.history-step', {
          type: 'button', class: `${done ? '' : 'undone'} ${at === curation.cursor ? 'now' : ''}`, 'aria-current': at === curation.cursor ? 'step' : null, onclick: () => view.session.goTo(at),
        }, h('span', null, describe(operation, view.ui)), h('span.muted.num', null, [operation.by, i18n.time(operation.at)].filter(Boolean).join(' · '))));
      }),
      h('li', null, h('button.history-step', { type: 'button', class: curation.cursor === 0 ? 'now' : '', onclick: () => view.session.goTo(0) }, h('span', null, t('history.start'))))),
    steps.length > shown.length && view.ui.button(t('history.all', { n: steps.length }), { onclick: () => {
      this.allHistory = true;
      this.drawHistory();
    } }));
  }

  drawTray() {
    const { view } = this;
    const { t } = view.ui;
    const rows = view.tray.values();
    const { curation, result } = view;
    fill(this.body, h('p.hint', null, t('tray.hint')), rows.length > 0 && h('div.tray-tools', null,
      view.ui.button(t('tray.choose'), { iconName: 'check', onclick: () => view.selection.add(rows) }), view.ui.button(t('tray.empty'), { onclick: () => view.tray.clear() })),
    h('ul.tray', { dataset: { drop: '+tray' } }, rows.map((row) => {
      const image = h('img', { alt: result.names[row], draggable: 'false', decoding: 'async', loading: 'lazy' });
      view.pictures.load(image, view.pictures.thumbnail(row, 'raw', 76));
      return h('li.tray-item', { dataset: { row }, title: result.names[row] }, h('button.tray-image', { type: 'button', onclick: () => view.openImage(row, { order: rows }) }, image),
        h('span.muted', null, curation.name(curation.place[row])), view.ui.iconButton(t('tray.remove'), 'close', () => view.tray.remove([row])));
    })), rows.length === 0 && h('p.tray-empty', { dataset: { drop: '+tray' } }, icon('tray', 28), t('tray.none')));
  }
}
