// One place where views come and go: the page has one that fills it, each widget has one of its own.

// Each view is fetched when its address is first opened.
const VIEWS = {
  experiments: () => import('../views/experiments.js'),
  new: () => import('../views/start.js'),
  e: () => import('../views/experiment.js'),
  compare: () => import('../views/comparison.js'),
  assign: () => import('../views/assign.js'),
};

const OTHERS = ['new', 'compare', 'assign'];

/** The view that an address belongs to: "experiments", "new", "compare", "assign" or "e/<id>". */
export function viewOf({ path: [first, id] }) {
  if (first === 'e' && id) return `e/${id}`;
  return OTHERS.includes(first) ? first : 'experiments';
}

/**
 * `main` is filled with views, which get `context`. `onView(name)` hears what is shown; `onShown(again)` follows when
 * it stands, `again` unless it is the first. Returns {show(route), dispose()}.
 */
export function createStage(main, context, { onView, onShown } = {}) {
  let view = null;
  let place = null;
  let turn = 0; // counts the views, so that a slow one does not come after a later one

  async function show(route) {
    const name = viewOf(route);
    onView?.(name);
    if (view?.update && place === name && view.update(route) !== false) return;
    const again = view !== null;
    view?.dispose?.();
    view = null;
    context.ui.leave();
    main.replaceChildren();
    main.className = '';
    place = name;
    turn += 1;
    const mine = turn;
    const { mount } = await VIEWS[name.startsWith('e/') ? 'e' : name]();
    if (mine !== turn) return;
    view = mount(main, context, name.startsWith('e/') ? { id: name.slice(2), route } : route);
    main.scrollTop = 0;
    onShown?.(again);
  }

  return {
    show,
    dispose() {
      turn += 1;
      view?.dispose?.();
      view = null;
    },
  };
}
