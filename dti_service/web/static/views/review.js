// The most doubtful images of the whole set, one after the other, each settled by one key.

import { disposer, fill, h } from '../lib/dom.js';
import { icon } from '../lib/icons.js';
import { keyLabel } from '../lib/ui.js';
import { UNSORTED } from '../logic/curation.js';
import { chooseCluster } from './choose.js';
import { provenance } from './provenance.js';

export function openReview(view, rows) {
  const { ui, session, pictures, result } = view;
  const { t, i18n } = ui;
  const ends = disposer();
  let at = 0;
  let settled = 0;
  return ui.dialog({
    title: t('review.title'),
    className: 'review',
    onClose: () => ends.dispose(),
    build: (body, close, dialog) => {
      const bar = h('progress', { max: rows.length, 'aria-label': t('review.progress') });
      const count = h('span.muted.num', { role: 'status' });
      const stage = h('div.review-stage');
      fill(body, h('div.review-head', null, bar, count), stage);

      const choice = (id, distance, key, label, action, primary) => {
        const cluster = session.curation.cluster(id);
        return h(`button.review-choice${primary ? '.primary-choice' : ''}`, { type: 'button', onclick: action },
          h('span.review-label', null, label, h('kbd', null, keyLabel(key, t))), pictures.prototypeImage(cluster, 170),
          h('strong', null, session.curation.name(id)), h('span.muted.num', null, Number.isFinite(distance) ? t('distance.short', { distance: i18n.distance(distance) }) : t('distance.none')));
      };

      function settle(target) {
        const row = rows[at];
        const answer = session.act((curation) => curation.review(row, target));
        if (answer) settled += 1;
        next();
      }

      function next(step = 1) {
        at = Math.max(0, at + step);
        draw();
      }

      async function other() {
        const row = rows[at];
        const target = await chooseCluster(view, { title: t('move.title', { n: 1 }), rows: [row], without: [session.curation.place[row]] });
        if (!target) return;
        if (target === '+new') {
          view.moveTo([row], '+new');
          session.act((curation) => curation.review(row));
          settled += 1;
          next();
        } else settle(target);
      }

      function second() {
        const near = session.curation.nearest(rows[at], 2).find(({ id }) => id !== session.curation.place[rows[at]]);
        if (near) settle(near.id);
      }

      function back() {
        if (at === 0) return;
        if (session.curation.operations[session.curation.cursor - 1]?.kind === 'review') {
          view.undo();
          settled = Math.max(0, settled - 1);
        }
        next(-1);
      }

      function draw() {
        bar.value = Math.min(at, rows.length);
        if (at >= rows.length) {
          count.textContent = '';
          fill(stage, h('div.empty', null, icon('check', 40), h('h2', null, t(rows.length ? 'review.done' : 'review.none')),
            h('p', null, rows.length ? t('review.settled', { n: settled }) : t('review.none.hint')), ui.button(t('close'), { primary: true, onclick: () => close() })));
          stage.querySelector('button').focus();
          return;
        }
        const row = rows[at];
        const { curation } = session;
        const own = curation.place[row];
        const near = curation.nearest(row, 2).find(({ id }) => id !== own);
        count.textContent = t('review.count', { at: i18n.number(at + 1), total: i18n.number(rows.length) });
        const image = h('img', { alt: result.names[row] });
        pictures.showBest(image, row, () => image.isConnected);
        image.onload = () => image.classList.toggle('small-source', image.naturalWidth < 300);
        fill(stage,
          h('div.review-choices', null, choice(own, curation.distance(row), 's', t('review.stays'), () => settle(null), true)),
          h('figure.review-image', null, image, h('figcaption', null, provenance(view, row))),
          h('div.review-choices', null, near ? choice(near.id, near.distance, '2', t('review.second'), second) : h('p.muted', null, t('near.unknown')),
            h('div.review-others', null,
              ui.button(t('review.other'), { iconName: 'grid', hint: 'O', onclick: other }), ui.button(t('unsorted'), { iconName: 'flag', hint: 'U', onclick: () => settle(UNSORTED) }),
              ui.button(t('review.skip'), { iconName: 'next', hint: '→', onclick: () => next() }), ui.button(t('review.back'), { iconName: 'undo', hint: '←', onclick: back, disabled: at === 0 }))));
        ui.announce(t('review.now', { name: result.names[row], own: curation.name(own), other: near ? curation.name(near.id) : '' }));
        if (!stage.contains(document.activeElement)) stage.querySelector('.primary-choice').focus({ preventScroll: true });
      }
      const asking = () => at < rows.length;
      ends.add(ui.keys.layer(t('keys.review.layer'), [
        { keys: ['s'], label: t('review.stays'), when: asking, run: () => settle(null) },
        { keys: ['2'], label: t('review.second'), when: asking, run: second },
        { keys: ['o', '3'], label: t('review.other'), when: asking, run: () => { other(); } },
        { keys: ['u'], label: t('unsorted'), when: asking, run: () => settle(UNSORTED) },
        { keys: ['ArrowRight'], label: t('review.skip'), when: asking, run: () => next() },
        { keys: ['ArrowLeft', 'mod+z'], label: t('review.back'), run: back },
      ], () => dialog));
      return { ready: draw };
    },
  });
}
