// Dragging chosen images onto a cluster, and drawing a frame around images to choose them. Mouse, pen and touch.

import { h } from './dom.js';

const START = 6; // pixels before a press becomes a drag
const LONG = 420; // ms before a finger that rests becomes a drag
const EDGE = 56; // pixels from the edge of a view where it begins to scroll
const SPEED = 14;

/**
 * `root`: element that holds the views. `rowOf(element)`: image under the pointer, or null. `rowsFor(row)`: what is
 * dragged with it. `thumbnail(row)`: address. `drop(rows, target)`: target is the value of a data-drop attribute.
 * `lasso(view, rect, {add})`: rect in the coordinates of the view's canvas. `lassoOn()`: whether a drag on a tile
 * draws a frame. Returns stop().
 */
export function installGestures(root, { rowOf, rowsFor, thumbnail, drop, lasso, lassoOn, began, ended, label }) {
  let press = null; // {x, y, row, view, pointer, touch, timer}
  let drag = null; // {rows, ghost, over}
  let frame = null; // {view, x, y, element, add}
  let scroller = 0;
  let last = null;

  const viewOf = (element) => element.closest?.('.cluster-view') ?? null;

  function down(event) {
    if (event.button !== 0 || press) return;
    if (event.target.closest('button, input, select, a, textarea')) return;
    const view = viewOf(event.target);
    const row = rowOf(event.target);
    if (row === null && !view) return;
    if (event.target.closest('.cluster-head')) return;
    // A press on the scroll bar is not ours.
    if (view && event.clientX > view.getBoundingClientRect().left + view.clientWidth) return;
    const touch = event.pointerType === 'touch';
    press = { x: event.clientX, y: event.clientY, row, view, pointer: event.pointerId, touch, event };
    if (touch && row !== null) press.timer = setTimeout(() => startDrag(press.x, press.y), LONG);
  }

  function move(event) {
    if (!press || event.pointerId !== press.pointer) return;
    last = event;
    if (!drag && !frame) {
      if (Math.hypot(event.clientX - press.x, event.clientY - press.y) < START) return;
      if (press.touch) {
        clearTimeout(press.timer);
        if (!(lassoOn() && press.view)) {
          press = null; // the finger scrolls
          return;
        }
      }
      if (press.view && (press.row === null || lassoOn())) startFrame(event);
      else if (press.row !== null) startDrag(event.clientX, event.clientY);
      else return;
    }
    event.preventDefault();
    if (drag) moveDrag(event.clientX, event.clientY);
    else if (frame) drawFrame(event.clientX, event.clientY);
    edgeScroll();
  }

  function startDrag(x, y) {
    const rows = rowsFor(press.row);
    const ghost = h('div.drag-ghost', { 'aria-hidden': 'true' },
      rows.slice(0, 3).reverse().map((row) => h('img', { alt: '', src: thumbnail(row) })),
      h('span.drag-count.num', null, rows.length));
    ghost.append(h('span.drag-target'));
    ghost.popover = 'manual'; // above everything, wherever it is carried
    root.append(ghost);
    ghost.showPopover?.();
    drag = { rows, ghost, over: null };
    root.classList.add('dragging');
    began?.(rows);
    moveDrag(x, y);
  }

  function moveDrag(x, y) {
    drag.ghost.style.transform = `translate(${x + 10}px, ${y + 10}px)`;
    const under = document.elementFromPoint(x, y)?.closest('[data-drop]') ?? null;
    const target = under && root.contains(under) ? under : null;
    if (target !== drag.over) {
      drag.over?.classList.remove('drop-over');
      drag.over = target;
      target?.classList.add('drop-over');
      drag.ghost.lastElementChild.textContent = target ? label(target.dataset.drop) : '';
    }
  }

  function startFrame(event) {
    const { view } = press;
    const at = canvasPoint(view, press.x, press.y);
    frame = { view, ...at, element: h('div.lasso-frame', { 'aria-hidden': 'true' }), add: event.ctrlKey || event.metaKey || event.shiftKey };
    view.firstElementChild.append(frame.element);
    root.classList.add('lassoing');
  }

  function canvasPoint(view, x, y) {
    const box = view.firstElementChild.getBoundingClientRect();
    return { x: x - box.left, y: y - box.top };
  }

  function frameRect(x, y) {
    const to = canvasPoint(frame.view, x, y);
    return {
      x: Math.min(frame.x, to.x), y: Math.min(frame.y, to.y), w: Math.abs(to.x - frame.x), h: Math.abs(to.y - frame.y),
    };
  }

  function drawFrame(x, y) {
    const rect = frameRect(x, y);
    Object.assign(frame.element.style, { left: `${rect.x}px`, top: `${rect.y}px`, width: `${rect.w}px`, height: `${rect.h}px` });
    lasso(frame.view, rect, { add: frame.add, done: false });
  }

  function edgeScroll() {
    cancelAnimationFrame(scroller);
    const step = () => {
      if ((!drag && !frame) || !last) return;
      const view = frame?.view ?? viewOf(document.elementFromPoint(last.clientX, last.clientY) ?? root);
      if (!view) return;
      const box = view.getBoundingClientRect();
      const over = last.clientY > box.bottom - EDGE ? last.clientY - (box.bottom - EDGE)
        : last.clientY < box.top + EDGE ? last.clientY - (box.top + EDGE) : 0;
      if (!over) return;
      view.scrollTop += Math.max(-1, Math.min(1, over / EDGE)) * SPEED;
      if (frame) drawFrame(last.clientX, last.clientY);
      else moveDrag(last.clientX, last.clientY);
      scroller = requestAnimationFrame(step);
    };
    scroller = requestAnimationFrame(step);
  }

  function finish(commit) {
    if (press) clearTimeout(press.timer);
    const moved = drag || frame;
    if (drag) {
      const { rows, ghost, over } = drag;
      over?.classList.remove('drop-over');
      ghost.remove();
      root.classList.remove('dragging');
      drag = null;
      ended?.();
      if (commit && over) drop(rows, over.dataset.drop);
    }
    if (frame) {
      const { view, element, add } = frame;
      if (commit && last) lasso(view, frameRect(last.clientX, last.clientY), { add, done: true });
      element.remove();
      root.classList.remove('lassoing');
      frame = null;
    }
    press = null;
    last = null;
    cancelAnimationFrame(scroller);
    return Boolean(moved);
  }

  function up(event) {
    if (!press || event.pointerId !== press.pointer) return;
    if (finish(true)) swallowNextClick();
  }

  /** The click that the browser makes of the end of a drag must not open an image. */
  function swallowNextClick() {
    const swallow = (event) => {
      event.stopPropagation();
      event.preventDefault();
    };
    root.addEventListener('click', swallow, { capture: true, once: true });
    setTimeout(() => root.removeEventListener('click', swallow, { capture: true }), 0);
  }

  function key(event) {
    if (event.key === 'Escape' && (drag || frame)) {
      finish(false);
      event.stopPropagation();
      event.preventDefault();
    }
  }
  const cancel = () => finish(false);
  const noDrag = (event) => event.preventDefault();
  const holdScroll = (event) => {
    if (drag || frame) event.preventDefault();
  };
  root.addEventListener('pointerdown', down);
  addEventListener('pointermove', move);
  addEventListener('pointerup', up);
  addEventListener('pointercancel', cancel);
  addEventListener('keydown', key, true);
  root.addEventListener('dragstart', noDrag);
  root.addEventListener('touchmove', holdScroll, { passive: false });
  root.addEventListener('contextmenu', holdScroll);
  return () => {
    finish(false);
    root.removeEventListener('pointerdown', down);
    removeEventListener('pointermove', move);
    removeEventListener('pointerup', up);
    removeEventListener('pointercancel', cancel);
    removeEventListener('keydown', key, true);
    root.removeEventListener('dragstart', noDrag);
    root.removeEventListener('touchmove', holdScroll);
    root.removeEventListener('contextmenu', holdScroll);
  };
}
