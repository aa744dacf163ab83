// What a reading is called, whose it is, and a note on it.

import { h, uid } from '../lib/dom.js';

/** Ask for them: {title, author, note}, or undefined when the window was dismissed. */
export function readingDialog({ ui, session }) {
  const { t } = ui;
  const { meta } = session.curation;
  const yes = t('save');
  return ui.dialog({
    title: t('variant.edit'),
    className: 'small',
    build: (body, close) => {
      const field = (label, tag, value) => {
        const id = uid('reading');
        const input = h(tag, { id, value, ...(tag === 'input' ? { type: 'text', maxlength: 200, autocomplete: 'off' } : { rows: 5 }) });
        return { input, parts: [h('label.field', { for: id }, label), input] };
      };
      const title = field(t('name'), 'input', session.title);
      const author = field(t('variant.author'), 'input', meta.author || session.author);
      const note = field(t('note'), 'textarea', meta.note ?? '');
      const answer = () => close({ title: title.input.value.trim() || session.title, author: author.input.value.trim(), note: note.input.value.trim() });
      body.append(h('form', {
        onsubmit: (event) => {
          event.preventDefault();
          answer();
        },
      }, title.parts, author.parts, note.parts, h('button.visually-hidden', { type: 'submit', tabindex: -1 }, yes)));
      return {
        footer: [h('button', { type: 'button', onclick: () => close() }, t('cancel')), h('button.primary', { type: 'button', onclick: answer }, yes)],
        ready: () => title.input.select(),
      };
    },
  });
}
