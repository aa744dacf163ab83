// One image: beside its prototype, as large as the screen, overlaid, blinking; and what is known about it.

import { disposer, fill, h } from '../lib/dom.js';
import { icon } from '../lib/icons.js';
import { clusterLabel, nearestCards } from './near.js';
import { provenance } from './provenance.js';

const LAYOUTS = ['beside', 'single', 'overlay', 'difference', 'layers'];
const MOST_ZOOM = 40;

/**
 * Open the viewer over a ResultView. Options: layout, onShow(row), onClose(row, {quiet}), order (rows to walk through;
 * default: what the clusters show). Gives {show(row), close({quiet})}.
 */
export function openImageViewer(view, row, { layout = null, onShow, onClose, order = null } = {}) {
  const { ui, pictures, session } = view;
  const { t, i18n } = ui;
  const ends = disposer();
  const prefs = view.settings;
  const layouts = LAYOUTS.filter((key) => key !== 'layers' || (view.masked && pictures.source.layers));
  const place = { zoom: 1, x: 0, y: 0, turn: 0, flipX: false, flipY: false };
  let mode = layout ?? 'beside';
  let mix = 0.5;
  let pinned = null;
  let quiet = false;
  let api = null;
  let natural = null;

  const title = h('span.viewer-title');
  const position = h('span.muted.num');
  const stage = h('div.stage', { tabindex: 0, role: 'group', 'aria-label': t('image.stage') });
  const side = h('aside.viewer-side', { 'aria-label': t('image.facts') });
  const modes = h('div.segmented', { role: 'radiogroup', 'aria-label': t('image.layout') }, layouts.map((key) =>
    h('label', null, h('input', { type: 'radio', name: 'viewer-layout', value: key, checked: key === mode, onchange: () => setMode(key) }), h('span', null, t(`image.layout.${key}`)))));
  const slider = h('input.mix', { type: 'range', min: 0, max: 1, step: 0.01, value: mix, 'aria-label': t('image.mix'), oninput: (event) => {
    mix = Number(event.target.value);
    paint();
  } });
  const zoomText = h('span.num.zoom-text', { role: 'status' });
  const pinButton = ui.iconButton(t('image.pin'), 'pin', () => pin(), { hint: 'P', 'aria-pressed': 'false' });
  const tools = h('div.viewer-tools', { role: 'toolbar', 'aria-label': t('tools') }, modes, slider, h('span.spacer'), h('div.viewer-icons', null,
    ui.iconButton(t('image.smaller'), 'close', () => zoomBy(1 / 1.4), { hint: '-' }), zoomText,
    ui.iconButton(t('image.larger'), 'add', () => zoomBy(1.4), { hint: '+' }),
    ui.iconButton(t('image.reset'), 'expand', () => reset(), { hint: '0' }),
    ui.iconButton(t('image.rotate'), 'rotate', () => turn(90), { hint: 'W' }),
    ui.iconButton(t('image.flipx'), 'flipx', () => flip('flipX'), { hint: 'X' }),
    ui.iconButton(t('image.flipy'), 'flipy', () => flip('flipY'), { hint: 'Y' }), pinButton));
  const smaller = tools.querySelector(`[aria-label="${CSS.escape(t('image.smaller'))}"]`);
  fill(smaller, h('span.minus', { 'aria-hidden': 'true' }, '–'));

  const closed = ui.dialog({
    title: t('image.title'),
    className: 'viewer',
    hideTitle: true,
    build: (body, close, dialog) => {
      const head = dialog.querySelector('.dialog-head');
      head.prepend(
        ui.iconButton(t('image.previous'), 'back', () => step(-1), { hint: '←' }), ui.iconButton(t('image.next'), 'next', () => step(1), { hint: '→' }), title, position);
      fill(body, h('div.viewer-main', null, stage, tools), side);
      api = { close };
      ends.add(ui.keys.layer(t('keys.image'), [
        { keys: ['ArrowRight', 'ArrowDown'], label: t('image.next'), run: (event) => walk(event, 1) },
        { keys: ['ArrowLeft', 'ArrowUp'], label: t('image.previous'), run: (event) => walk(event, -1) },
        { keys: ['b'], label: t('image.blink'), run: () => blink() },
        { keys: ['v'], label: t('image.layout.next'), run: () => setMode(layouts[(layouts.indexOf(mode) + 1) % layouts.length]) },
        { keys: ['z'], label: t('image.layout.single'), run: () => setMode(mode === 'single' ? 'beside' : 'single') },
        { keys: ['+', '='], label: t('image.larger'), run: () => zoomBy(1.4) },
        { keys: ['-'], label: t('image.smaller'), run: () => zoomBy(1 / 1.4) },
        { keys: ['0'], label: t('image.reset'), run: () => reset() },
        { keys: ['w'], label: t('image.rotate'), run: () => turn(90) },
        { keys: ['x'], label: t('image.flipx'), run: () => flip('flipX') },
        { keys: ['y'], label: t('image.flipy'), run: () => flip('flipY') },
        { keys: ['p'], label: t('image.pin'), run: () => pin() },
        { keys: ['1', '2', '3'], label: t('image.goto'), run: (event) => moveToNear(Number(event.key) - 1) },
        { keys: ['m'], label: t('keys.move'), run: () => view.moveDialogFor(row) },
        { keys: ['c'], label: t('keys.note'), run: () => side.querySelector('textarea')?.focus() },
        { keys: ['f'], label: t('keys.similar'), run: () => similar() },
        { keys: ['mod+z'], label: t('keys.undo'), run: () => view.undo() },
        { keys: ['mod+y', 'mod+shift+z'], label: t('keys.redo'), run: () => view.redo() },
        { keys: ['?'], run: () => false },
      ], () => dialog));
      return { ready: () => {
        stage.focus();
        show(row, true);
      } };
    },
  });
  let open = true;
  if (!view.result.whole) view.known().then(() => open && facts()); // the nearest clusters
  closed.then(() => {
    open = false;
    ends.dispose();
    onClose?.(row, { quiet });
  });
  ends.add(session.on((type) => {
    if (type === 'change' || type === 'load') facts();
  }));

  function walk(event, by) {
    if (event.target.matches('input')) return false;
    step(by);
    return true;
  }

  function step(by) {
    const next = order ? order[order.indexOf(row) + by] ?? null : view.arrangement.neighbour(row, by);
    if (next === null || next === undefined) ui.announce(t(by > 0 ? 'image.last' : 'image.first'));
    else show(next);
  }

  function show(next, first = false) {
    row = next;
    if (!first) onShow?.(row);
    Object.assign(place, { zoom: 1, x: 0, y: 0 });
    draw();
    facts();
    const name = view.result.names[row];
    ui.announce(t('image.now', { name, cluster: session.curation.name(session.curation.place[row]) }));
  }

  // -- stage -----------------------------------------------------------------------------------------------------------

  function pane(label, address, { kind, pin: isPin = false } = {}) {
    const image = h('img', { alt: label, draggable: 'false', onload: (event) => {
      const { naturalWidth, naturalHeight, clientWidth } = event.target;
      image.classList.toggle('small-source', Math.max(naturalWidth, naturalHeight) < Math.max(256, clientWidth / 2));
      if (kind === 'raw') size(naturalWidth, naturalHeight);
    } });
    image.classList.toggle('checkered', kind === 'prototype' && view.result.masked);
    if (address) pictures.load(image, address);
    return h('figure.pane', { dataset: { kind } }, h('div.pane-view', null, image), h('figcaption', null, label, isPin && ui.iconButton(t('image.unpin'), 'close', () => pin(null))));
  }

  function draw() {
    const { curation } = session;
    const cluster = curation.cluster(curation.place[row]);
    const fitted = pictures.fitted(row, cluster?.prototype);
    const raw = () => {
      const figure = pane(t('image.raw'), null, { kind: 'raw' });
      const mine = row;
      pictures.showBest(figure.querySelector('img'), row, () => row === mine && figure.isConnected).then((original) => {
        if (original) figure.querySelector('figcaption').firstChild.textContent = t('image.original');
      });
      return figure;
    };
    const fit = () => (fitted ? pane(t('image.fitted'), fitted, { kind: 'fitted' })
      : h('figure.pane', { dataset: { kind: 'fitted' } }, h('div.pane-view.unknown', null, h('p', null, t('fitted.unknown.long'))), h('figcaption', null, t('image.fitted'))));
    const proto = () => (cluster?.prototype === null || !cluster ? null : pane(t('image.prototype'), pictures.prototype(cluster.prototype), { kind: 'prototype' }));
    const panes = mode === 'single' ? [raw()] : mode === 'layers' ? [raw(), fit()] : mode === 'beside' ? [raw(), fit(), proto()] : [stack(fitted)];
    if (pinned !== null) {
      const mine = pinned;
      const figure = pane(t('image.pinned', { name: short(view.result.names[mine]) }), null, { kind: 'pin', pin: true });
      pictures.showBest(figure.querySelector('img'), mine, () => figure.isConnected);
      panes.push(figure);
    }
    fill(stage, panes);
    stage.dataset.mode = mode;
    if (mode === 'layers') takeApart(row);
    slider.hidden = mode !== 'overlay';
    for (const input of modes.querySelectorAll('input')) input.checked = input.value === mode;
    pinButton.setAttribute('aria-pressed', String(pinned !== null));
    prefs.get();
    paint();
  }

  /** What the model sees the image as: its background, and the sprites in its layers as they are placed. */
  async function takeApart(mine) {
    const id = view.result.ids[mine];
    const waiting = h('figure.pane', { dataset: { kind: 'layer' } }, h('div.pane-view.unknown', { role: 'status' }, h('p', null, t('loading'))));
    stage.append(waiting);
    try {
      const { background, layers } = await pictures.source.layers(id);
      if (mine !== row || mode !== 'layers') return;
      waiting.remove();
      const found = [];
      if (background !== null) found.push(pane(t('image.background'), pictures.source.layer(id, 'background'), { kind: 'background' }));
      layers.forEach(({ sprite }, at) => {
        const home = session.curation.home(sprite);
        found.push(pane(t('image.layer', { n: at + 1, name: home === null ? session.nameOf(sprite) : session.curation.name(home) }), pictures.source.layer(id, `layer${at + 1}`), { kind: 'layer' }));
      });
      stage.append(...found);
      paint();
    } catch (error) {
      waiting.remove();
      if (mine === row && mode === 'layers') stage.append(h('p.muted', { role: 'status' }, error.status === 404 ? t('image.layers.none') : error.message));
    }
  }

  /** Image and fitted prototype on top of each other: mixed, or their difference. */
  function stack(fitted) {
    const second = fitted || pictures.prototype(session.curation.cluster(session.curation.place[row])?.prototype ?? view.result.labels[row]);
    const [a, b] = [h('img', { alt: t('image.raw'), draggable: 'false' }), h('img.over', { alt: t(fitted ? 'image.fitted' : 'image.prototype'), draggable: 'false' })];
    pictures.load(a, pictures.image(row, 'raw'));
    pictures.load(b, second);
    for (const image of [a, b]) image.classList.add('small-source');
    return h('figure.pane.stack', { dataset: { kind: mode } }, h('div.pane-view', null, a, b), h('figcaption', null, t(mode === 'difference' ? (fitted ? 'image.difference' : 'image.difference.prototype') : fitted ? 'image.overlay' : 'image.overlay.prototype')));
  }

  function paint() {
    const { zoom, x, y, turn: angle, flipX, flipY } = place;
    const transform = `translate(${x}px, ${y}px) scale(${zoom}) rotate(${angle}deg) scale(${flipX ? -1 : 1}, ${flipY ? -1 : 1})`;
    for (const image of stage.querySelectorAll('img')) image.style.transform = transform;
    for (const over of stage.querySelectorAll('img.over')) {
      over.style.opacity = mode === 'overlay' ? mix : '';
    }
    zoomText.textContent = `${Math.round(zoom * 100)} %`;
  }

  function setMode(next) {
    mode = next;
    Object.assign(place, { zoom: 1, x: 0, y: 0 });
    draw();
    ui.announce(t(`image.layout.${mode}`));
  }

  /** Blink: the prototype in the very place of the image, and back. Only there do they lie on top of each other. */
  function blink() {
    if (mode !== 'overlay') {
      mix = 0;
      setMode('overlay');
    }
    mix = mix < 1 ? 1 : 0;
    slider.value = mix;
    paint();
    ui.announce(t(mix ? 'image.blink.on' : 'image.blink.off'));
  }

  function pin(which = pinned === null ? row : null) {
    pinned = which;
    draw();
    stage.focus();
  }

  function zoomBy(factor, at = null) {
    const next = Math.min(MOST_ZOOM, Math.max(0.2, place.zoom * factor));
    const by = next / place.zoom;
    if (at) {
      place.x = at.x - (at.x - place.x) * by;
      place.y = at.y - (at.y - place.y) * by;
    } else {
      place.x *= by;
      place.y *= by;
    }
    place.zoom = next;
    paint();
  }

  function reset() {
    Object.assign(place, { zoom: 1, x: 0, y: 0, turn: 0, flipX: false, flipY: false });
    paint();
  }

  function turn(by) {
    place.turn = (place.turn + by) % 360;
    paint();
  }

  function flip(axis) {
    place[axis] = !place[axis];
    paint();
  }

  ends.listen(stage, 'wheel', (event) => {
    const box = event.target.closest('.pane-view')?.getBoundingClientRect();
    if (!box) return;
    event.preventDefault();
    const at = { x: event.clientX - box.left - box.width / 2, y: event.clientY - box.top - box.height / 2 };
    zoomBy(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.0022)), at);
  }, { passive: false });
  ends.listen(stage, 'dblclick', (event) => {
    const box = event.target.closest('.pane-view')?.getBoundingClientRect();
    if (!box) return;
    if (place.zoom > 1.01) reset();
    else zoomBy(4, { x: event.clientX - box.left - box.width / 2, y: event.clientY - box.top - box.height / 2 });
  });
  const fingers = new Map();
  let apart = 0;
  ends.listen(stage, 'pointerdown', (event) => {
    if (!event.target.closest('.pane-view') || event.button !== 0) return;
    fingers.set(event.pointerId, event);
    stage.setPointerCapture(event.pointerId);
    stage.classList.add('grabbing');
    apart = 0;
  });
  ends.listen(stage, 'pointermove', (event) => {
    const last = fingers.get(event.pointerId);
    if (!last) return;
    if (fingers.size === 1) {
      place.x += event.clientX - last.clientX;
      place.y += event.clientY - last.clientY;
      paint();
    } else {
      const [a, b] = [...fingers.values()];
      const now = Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
      if (apart) zoomBy(now / apart);
      apart = now;
    }
    fingers.set(event.pointerId, event);
  });
  for (const type of ['pointerup', 'pointercancel']) {
    ends.listen(stage, type, (event) => {
      fingers.delete(event.pointerId);
      if (!fingers.size) stage.classList.remove('grabbing');
    });
  }

  // -- facts -----------------------------------------------------------------------------------------------------------

  function size(width, height) {
    natural = [width, height];
    const target = side.querySelector('.natural-size');
    if (target) target.textContent = t('image.size', { width, height });
  }

  function facts() {
    const { curation } = session;
    const id = curation.place[row];
    const list = order ?? view.arrangement.list(id);
    title.textContent = short(view.result.names[row]);
    title.title = view.result.names[row];
    position.textContent = t('image.position', { at: i18n.number(list.indexOf(row) + 1), total: i18n.number(list.length), cluster: curation.name(id) });
    const image = curation.image(row);
    const note = h('textarea', { rows: 2, value: image.note, 'aria-label': t('note'), placeholder: t('note.placeholder'), onchange: (event) => view.act((c) => c.noteImages([row], event.target.value.trim()), { quiet: true }) });
    const tags = h('input', { type: 'text', value: image.tags.join(', '), 'aria-label': t('tags'), placeholder: t('tags.placeholder'), onchange: (event) => {
      const next = [...new Set(event.target.value.split(',').map((tag) => tag.trim()).filter(Boolean))];
      view.act((c) => c.tagImages([row], { add: next, remove: image.tags.filter((tag) => !next.includes(tag)) }), { quiet: true });
    } });
    const keepFocus = side.contains(document.activeElement) && document.activeElement.matches('textarea, input');
    if (keepFocus) return;
    const file = h('a.file-link', { href: pictures.image(row, 'raw'), target: '_blank', rel: 'noopener' }, icon('open', 14), t('image.openfile'));
    const size = h('p.muted.natural-size.num', null, natural ? t('image.size', { width: natural[0], height: natural[1] }) : '');
    pictures.originals?.(row, view.result.ids[row]).then((found) => {
      if (!found) return;
      file.href = found.address;
      if (found.width) size.remove(); // it stands among the facts already
    }).catch(() => {});
    fill(side,
      h('section', null, h('h3', null, t('image.in')), clusterLabel(view, id, curation.distance(row))),
      h('section', null, h('h3', null, t('image.nearest')), nearestCards(view, row, { onmove: (target) => move(target) }),
        h('div.side-tools', null, ui.button(t('move.to'), { iconName: 'move', hint: 'M', onclick: () => view.moveDialogFor(row) }),
          ui.button(t('similar'), { iconName: 'similar', hint: 'F', onclick: () => similar() }))),
      h('section', null, h('h3', null, t('note.and.tags')), note, tags),
      h('section', null, h('h3', null, t('image.provenance')), provenance(view, row), size, file));
  }

  function move(target) {
    const next = order ? null : view.arrangement.neighbour(row, 1) ?? view.arrangement.neighbour(row, -1);
    view.moveTo([row], target);
    if (next !== null && next !== row) show(next);
    else draw();
  }

  function moveToNear(at) {
    const near = session.curation.nearest(row, 3)[at];
    if (near && near.id !== session.curation.place[row]) move(near.id);
  }

  const similar = () => view.similar(row);

  return {
    show,
    close: ({ quiet: silent = false } = {}) => {
      quiet = silent;
      api?.close();
    },
  };
}

const short = (name) => name.slice(name.lastIndexOf('/') + 1);
