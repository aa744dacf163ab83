// Building elements. Text always becomes a text node: nothing that a user wrote is ever parsed as HTML.

const SVG = 'http://www.w3.org/2000/svg';
const PROPERTIES = new Set(['value', 'checked', 'selected', 'indeterminate', 'disabled', 'hidden', 'open']);

/**
 * h('button.primary', {onclick, 'aria-label': text, style: {width: '3em'}}, child, ...).
 * Children are nodes, texts, numbers, arrays of these; null, undefined and false are left out.
 */
export function h(selector, props, ...children) {
  const [tag, ...classes] = selector.split('.');
  const element = document.createElement(tag || 'div');
  if (classes.length) element.className = classes.join(' ');
  set(element, props);
  append(element, children);
  return element;
}

/** The same for SVG elements. */
export function s(tag, props, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, String(value));
  }
  append(element, children);
  return element;
}

/** Set attributes, listeners (`on...`), `class`, `dataset` and `style` objects of an element. */
export function set(element, props) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (name.startsWith('on') && typeof value === 'function') element.addEventListener(name.slice(2), value);
    else if (name === 'class') {
      for (const one of String(value ?? '').split(' ')) if (one) element.classList.add(one);
    } else if (name === 'style' && value) {
      for (const [key, text] of Object.entries(value)) {
        if (key.startsWith('--')) element.style.setProperty(key, text);
        else element.style[key] = text;
      }
    } else if (name === 'dataset' && value) Object.assign(element.dataset, value);
    else if (PROPERTIES.has(name)) element[name] = value;
    else if (value === null || value === undefined || value === false) element.removeAttribute(name);
    else element.setAttribute(name, value === true ? '' : String(value));
  }
  return element;
}

export function append(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false || child === true) continue;
    element.append(child instanceof Node ? child : String(child));
  }
  return element;
}

/** Put these children in the place of what the element holds. */
export function fill(element, ...children) {
  element.replaceChildren();
  return append(element, children);
}

let counter = 0;

/** An id that no other element on the page has. */
export function uid(prefix = 'dti') {
  counter += 1;
  return `${prefix}-${counter}`;
}

/** Call `fn` once, `ms` after the last of a series of calls; `.flush()` calls at once, `.cancel()` never. */
export function debounce(fn, ms) {
  let timer = null;
  let last = [];
  const run = () => {
    timer = null;
    return fn(...last);
  };
  const debounced = (...args) => {
    last = args;
    clearTimeout(timer);
    timer = setTimeout(run, ms);
  };
  debounced.flush = () => {
    if (timer === null) return undefined;
    clearTimeout(timer);
    return run();
  };
  debounced.cancel = () => {
    clearTimeout(timer);
    timer = null;
  };
  debounced.pending = () => timer !== null;
  return debounced;
}

/** A bag of clean-up functions: everything a view started is ended when it goes. */
export function disposer() {
  const actions = [];
  return {
    add(action) {
      actions.push(action);
      return action;
    },
    listen(target, type, handler, options) {
      target.addEventListener(type, handler, options);
      actions.push(() => target.removeEventListener(type, handler, options));
    },
    interval(fn, ms) {
      const timer = setInterval(fn, ms);
      actions.push(() => clearInterval(timer));
    },
    dispose() {
      while (actions.length) actions.pop()();
    },
  };
}
