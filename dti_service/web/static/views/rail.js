// The narrow column of all clusters: an overview, a way to jump, and a place to drop images on.

import { fill, h } from '../lib/dom.js';
import { icon } from '../lib/icons.js';
import { UNSORTED } from '../logic/curation.js';

export class Rail {
  constructor(element, view) {
    this.view = view;
    const { t } = view.ui;
    this.list = h('ul.rail-list');
    this.special = h('div.rail-special', null,
      this.dropPlace('+new', 'add', t('cluster.new'), () => view.newCluster()),
      this.dropPlace(UNSORTED, 'flag', t('unsorted'), () => view.jump(UNSORTED)),
      this.dropPlace('+tray', 'tray', t('tray'), () => view.toggleDock('tray')));
    this.trayCount = h('span.badge.num', { hidden: true });
    this.special.lastElementChild.append(this.trayCount);
    fill(element, this.list, this.special);
    this.items = new Map();
    this.draw();
  }

  dropPlace(drop, iconName, label, onclick) {
    return h('button.rail-drop', { type: 'button', dataset: { drop }, title: label, onclick }, icon(iconName), h('span', null, label));
  }

  draw() {
    const { view } = this;
    const { curation } = view.session;
    const { t, i18n } = view.ui;
    const wanted = new Set(view.arrangement.ids);
    for (const [id, item] of this.items) {
      if (wanted.has(id)) continue;
      item.element.remove();
      this.items.delete(id);
    }
    let before = null;
    for (const id of view.arrangement.ids) {
      let item = this.items.get(id);
      if (!item) {
        const image = h('img', { alt: '', loading: 'lazy', fetchpriority: 'low', decoding: 'async', draggable: 'false' });
        const count = h('span.rail-count.num');
        const button = h('button.rail-item', { type: 'button', dataset: { drop: id }, onclick: () => view.jump(id) }, image, count);
        item = { element: h('li', null, button), button, image, count };
        this.items.set(id, item);
      }
      const cluster = curation.cluster(id);
      const key = `${cluster.prototype}/${cluster.prototype === null ? cluster.members[0] : ''}`;
      if (item.key !== key) {
        item.key = key;
        view.pictures.showPrototype(item.image, cluster, 48);
      }
      const name = curation.name(id);
      const count = view.arrangement.count(id);
      item.count.textContent = i18n.number(count);
      item.button.title = name;
      item.button.setAttribute('aria-label', t('rail.item', { name, n: count, state: t(`cluster.state.${cluster.state}`) }));
      item.button.dataset.state = cluster.state;
      item.button.classList.toggle('dim', count === 0);
      if (item.element.previousElementSibling !== before || !item.element.isConnected) {
        if (before) before.after(item.element);
        else this.list.prepend(item.element);
      }
      before = item.element;
    }
    const tray = view.tray.size;
    this.trayCount.hidden = tray === 0;
    this.trayCount.textContent = i18n.number(tray);
  }

  /** Mark the cluster that is at the top of the view. */
  mark(id) {
    if (this.marked === id) return;
    const { list } = this;
    const item = this.items.get(id);
    let top = null;
    if (item) { // measured before anything changes
      const { offsetTop, offsetHeight } = item.element;
      const { scrollTop, clientHeight } = list;
      if (offsetTop < scrollTop) top = offsetTop - 8;
      else if (offsetTop + offsetHeight > scrollTop + clientHeight) top = offsetTop + offsetHeight - clientHeight + 8;
    }
    this.items.get(this.marked)?.button.removeAttribute('aria-current');
    this.marked = id;
    item?.button.setAttribute('aria-current', 'true');
    if (top !== null) list.scrollTop = top;
  }
}
