// The common parts of all views: messages, dialogs, menus, keys. One object, made once for each root element.

import { append, fill, h, uid } from './dom.js';
import { icon } from './icons.js';

/** Everything a view needs besides its data. `root` is the element whose class is "dti". */
export function createUi({ root, i18n, prefs }) {
  const { t } = i18n;
  const polite = h('div.visually-hidden', { 'aria-live': 'polite', role: 'status' });
  const urgent = h('div.visually-hidden', { 'aria-live': 'assertive', role: 'alert' });
  const toasts = h('div.toasts', { role: 'region', 'aria-label': t('messages') });
  append(root, [polite, urgent, toasts]);

  /** Say something to screen readers only. */
  function announce(text, { now = false } = {}) {
    const region = now ? urgent : polite;
    region.textContent = '';
    setTimeout(() => {
      region.textContent = text;
    }, 30);
  }

  const offers = new Set(); // close() of the messages with an action

  /** Another view comes: what the messages of the former one offered, such as "Undo", has no place there. */
  function leave() {
    for (const close of [...offers]) close();
  }

  /** A short message at the foot, with one action at most. Returns close(). */
  function toast(text, { action = null, onAction = null, tone = '', ms = 7000 } = {}) {
    const close = () => {
      clearTimeout(timer);
      offers.delete(close);
      element.remove();
    };
    const element = h(`div.toast${tone ? `.${tone}` : ''}`, null, h('span', null, text),
      action && h('button.link', {
        type: 'button',
        onclick: () => {
          close();
          onAction();
        },
      }, action),
      h('button.icon-button', { type: 'button', 'aria-label': t('close'), onclick: close }, icon('close', 14)));
    let timer = ms ? setTimeout(close, ms) : 0;
    // A message that is being read or reached for stays.
    element.addEventListener('pointerenter', () => clearTimeout(timer));
    element.addEventListener('focusin', () => clearTimeout(timer));
    element.addEventListener('pointerleave', () => {
      timer = ms ? setTimeout(close, 2500) : 0;
    });
    while (toasts.children.length >= 3) toasts.firstElementChild.remove();
    toasts.append(element);
    if (action) offers.add(close);
    announce(text, { now: tone === 'bad' });
    return close;
  }

  function failure(error) {
    const text = error?.status === 0 ? t('error.offline') : error?.message || String(error);
    return toast(text, { tone: 'bad', ms: 12000 });
  }

  /**
   * A modal window. `build(body, close)` fills it; the promise gives what close(value) was called with, and
   * undefined when it was dismissed. The focus returns to where it was.
   */
  function dialog({ title, className = '', build, footer = null, onClose = null, hideTitle = false }) {
    return new Promise((resolve) => {
      const before = document.activeElement;
      const heading = uid('title');
      let value;
      const body = h('div.dialog-body');
      const close = (result) => {
        value = result;
        element.close();
      };
      const element = h(`dialog.dialog${className ? `.${className}` : ''}`, { 'aria-labelledby': heading },
        h('header.dialog-head', null,
          h(`h2${hideTitle ? '.visually-hidden' : ''}`, { id: heading }, title),
          h('button.icon-button', { type: 'button', 'aria-label': t('close'), onclick: () => close() },
            icon('close'))),
        body);
      element.addEventListener('click', (event) => {
        if (event.target === element) close();
      });
      element.addEventListener('close', () => {
        element.remove();
        onClose?.();
        if (before?.isConnected) before.focus({ preventScroll: true });
        resolve(value);
      });
      root.append(element);
      const extra = build(body, close, element);
      if (footer || extra?.footer) append(element, [h('footer.dialog-foot', null, footer ?? extra.footer)]);
      element.showModal();
      extra?.ready?.();
    });
  }

  /** Ask yes or no. */
  function confirm({ title, text, yes, tone = '' }) {
    return dialog({
      title,
      className: 'small',
      build: (body, close) => {
        fill(body, h('p', null, text));
        return {
          footer: [
            h('button', { type: 'button', onclick: () => close(false) }, t('cancel')),
            h(`button.primary${tone ? `.${tone}` : ''}`, { type: 'button', onclick: () => close(true) }, yes),
          ],
        };
      },
    });
  }

  /** Ask for a text. Gives it, or undefined. */
  function prompt({ title, label, value = '', yes, hint = '', multiline = false }) {
    return dialog({
      title,
      className: 'small',
      build: (body, close) => {
        const id = uid('field');
        const input = multiline
          ? h('textarea', { id, rows: 5, value })
          : h('input', { id, type: 'text', value, autocomplete: 'off' });
        const form = h('form', {
          onsubmit: (event) => {
            event.preventDefault();
            close(input.value.trim());
          },
        }, h('label.field', { for: id }, label), input, hint && h('p.hint', null, hint),
        h('button.visually-hidden', { type: 'submit', tabindex: -1 }, yes));
        fill(body, form);
        return {
          footer: [
            h('button', { type: 'button', onclick: () => close() }, t('cancel')),
            h('button.primary', { type: 'button', onclick: () => close(input.value.trim()) }, yes),
          ],
          ready: () => {
            input.focus();
            input.select();
          },
        };
      },
    });
  }

  let openMenu = null;

  /** Open a menu below a button. Items: {label, icon, action, disabled, checked, tone, href, download} or '-'. */
  function menu(button, items, { label = '' } = {}) {
    openMenu?.();
    const list = h('div.menu', { role: 'menu', 'aria-label': label || button.textContent || t('menu') });
    const entries = [];
    for (const item of items) {
      if (!item) continue;
      if (item === '-') {
        list.append(h('hr', { role: 'separator' }));
        continue;
      }
      const checkable = item.checked !== undefined;
      const entry = h(item.href ? 'a.menu-item' : 'button.menu-item', {
        type: item.href ? null : 'button',
        href: item.href,
        download: item.download,
        target: item.target,
        rel: item.target ? 'noopener' : null,
        role: checkable ? 'menuitemradio' : 'menuitem',
        'aria-checked': checkable ? String(Boolean(item.checked)) : null,
        'aria-disabled': item.disabled ? 'true' : null,
        tabindex: -1,
        class: item.tone,
        onclick: (event) => {
          if (item.disabled) {
            event.preventDefault();
            return;
          }
          close();
          item.action?.();
        },
      }, h('span.menu-icon', null, checkable ? (item.checked ? icon('check', 16) : null)
        : item.icon ? icon(item.icon, 16) : null),
      h('span', null, item.label), item.hint && h('kbd', null, item.hint));
      entries.push(entry);
      list.append(entry);
    }
    const close = () => {
      if (!list.isConnected) return;
      list.remove();
      button.setAttribute('aria-expanded', 'false');
      document.removeEventListener('pointerdown', outside, true);
      openMenu = null;
      if (list.contains(document.activeElement) || document.activeElement === document.body) {
        button.focus({ preventScroll: true });
      }
    };
    const outside = (event) => {
      if (!list.contains(event.target) && !button.contains(event.target)) close();
    };
    list.addEventListener('keydown', (event) => {
      const at = entries.indexOf(document.activeElement);
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (step) {
        entries[(at + step + entries.length) % entries.length].focus();
      } else if (event.key === 'Home') entries[0].focus();
      else if (event.key === 'End') entries.at(-1).focus();
      else if (event.key === 'Escape' || event.key === 'Tab') {
        close();
        button.focus({ preventScroll: true });
      } else if (event.key.length === 1 && /\S/.test(event.key)) {
        const key = event.key.toLowerCase();
        const order = [...entries.slice(at + 1), ...entries.slice(0, at + 1)];
        order.find((entry) => entry.textContent.trim().toLowerCase().startsWith(key))?.focus();
        return;
      } else return;
      event.preventDefault();
      event.stopPropagation();
    });
    const host = button.closest('dialog') ?? root;
    list.popover = 'manual'; // above everything, also where an ancestor clips what lies in it
    host.append(list);
    list.showPopover?.();
    const at = button.getBoundingClientRect();
    const size = list.getBoundingClientRect();
    const left = Math.max(8, Math.min(at.left, innerWidth - size.width - 8));
    const below = at.bottom + 4 + size.height < innerHeight;
    list.style.left = `${left}px`;
    list.style.top = `${below ? at.bottom + 4 : Math.max(8, at.top - size.height - 4)}px`;
    button.setAttribute('aria-expanded', 'true');
    document.addEventListener('pointerdown', outside, true);
    openMenu = close;
    entries.find((entry) => entry.getAttribute('aria-checked') === 'true')?.focus();
    if (!list.contains(document.activeElement)) entries[0]?.focus();
    return close;
  }

  function menuButton({ label, iconName = 'menu', className = 'icon-button', items, text = false, title }) {
    const button = h(`button.${className}`, {
      type: 'button',
      'aria-haspopup': 'menu',
      'aria-expanded': 'false',
      'aria-label': text ? null : label,
      title: title ?? (text ? null : label),
      onclick: () => {
        if (button.getAttribute('aria-expanded') === 'true') openMenu?.();
        else menu(button, typeof items === 'function' ? items() : items, { label });
      },
    }, iconName && icon(iconName), text && h('span', null, label), text && icon('down', 12));
    return button;
  }

  const button = (label, { iconName, primary = false, onclick, hint, className = '', ...rest } = {}) =>
    h(`button${primary ? '.primary' : ''}`, {
      type: 'button', class: className, onclick, title: hint ? `${label} (${hint})` : null, ...rest,
    }, iconName && icon(iconName, 16), h('span', null, label));

  const iconButton = (label, iconName, onclick, { hint, ...rest } = {}) =>
    h('button.icon-button', {
      type: 'button', 'aria-label': label, title: hint ? `${label} (${hint})` : label, onclick, ...rest,
    }, icon(iconName));

  return {
    root, i18n, t, prefs, announce, toast, leave, failure, dialog, confirm, prompt, menu, menuButton, button, iconButton,
    keys: createKeys(t, root),
  };
}

const EDITABLE = 'input:not([type=checkbox]):not([type=radio]):not([type=range]), textarea, select, [contenteditable]';

/**
 * Keyboard shortcuts in layers: the topmost layer that knows a key takes it. A key is written as "m", "shift+m",
 * "mod+z" (Ctrl or Command) or "ArrowLeft". Nothing fires while a text is being typed, or outside of `root`.
 */
export function createKeys(t, root) {
  const layers = [];
  function name(event) {
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const mod = event.ctrlKey || event.metaKey ? 'mod+' : '';
    // A shifted sign such as "?" is its own key; shift counts only with letters and named keys.
    const shift = event.shiftKey && (event.key.length > 1 || /\p{L}/u.test(key)) ? 'shift+' : '';
    return `${mod}${event.altKey ? 'alt+' : ''}${shift}${key}`;
  }
  function onKey(event) {
    if (event.defaultPrevented || event.isComposing) return;
    if (event.target.closest?.(EDITABLE)) return;
    const pressed = name(event);
    const inDialog = event.target.closest?.('dialog[open]') ?? root.querySelector('dialog[open]');
    for (const layer of [...layers].reverse()) {
      if (inDialog && !inDialog.contains(layer.scope?.() ?? null)) continue;
      const binding = layer.bindings.find((one) => one.keys.includes(pressed));
      if (!binding) continue;
      if (binding.when && !binding.when()) continue;
      if (binding.run(event) !== false) event.preventDefault();
      return;
    }
  }
  root.addEventListener('keydown', onKey);
  return {
    /** bindings: [{keys: ['m'], label, run, when}]. `scope`: the dialog that the layer belongs to. */
    layer(title, bindings, scope = null) {
      const layer = { title, bindings, scope };
      layers.push(layer);
      return () => {
        const at = layers.indexOf(layer);
        if (at >= 0) layers.splice(at, 1);
      };
    },
    all: () => layers,
    stop: () => root.removeEventListener('keydown', onKey),
  };
}

const KEY_NAMES = {
  ArrowLeft: '←', ArrowRight: '→', ArrowUp: '↑', ArrowDown: '↓', ' ': 'key.space', Escape: 'key.escape', Enter: 'key.enter',
  Delete: 'key.delete', Home: 'key.home', End: 'key.end', PageUp: 'key.pageup', PageDown: 'key.pagedown',
};

/** "mod+z" as it is printed on the keys. */
export function keyLabel(key, t) {
  const mac = /Mac|iP/.test(globalThis.navigator?.platform ?? '');
  return key.split('+').filter(Boolean).map((part) => {
    if (part === 'mod') return mac ? '⌘' : t('key.ctrl');
    if (part === 'shift') return mac ? '⇧' : t('key.shift');
    if (part === 'alt') return mac ? '⌥' : 'Alt';
    const named = KEY_NAMES[part];
    if (named) return named.startsWith('key.') ? t(named) : named;
    return part.length === 1 ? part.toUpperCase() : part;
  }).join(mac ? '' : ' + ');
}
