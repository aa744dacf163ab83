// Taking it home: tables, pages and pictures of what is on the screen.

import { h } from '../lib/dom.js';
import { formatHash } from '../lib/router.js';

/** The menu of everything that can be taken away. What is unsaved is saved before a file is made of it. */
export function exportMenu(view) {
  const { ui, source, session } = view;
  const { t } = ui;
  const name = () => session.name ?? 'raw';
  const take = (extension, query) => async () => {
    await session.settle();
    if (session.unsaved) {
      ui.toast(t('export.unsaved'), { tone: 'bad' });
      return;
    }
    const link = h('a', { href: source.curationFile(name(), extension, query), download: '' });
    ui.root.append(link);
    link.click();
    link.remove();
    ui.announce(t('export.begun'));
  };
  return ui.menuButton({
    label: t('export'),
    iconName: 'download',
    className: 'button',
    text: true,
    items: () => [
      { label: t('export.csv'), icon: 'rows', action: take('csv', { bom: 1 }) },
      { label: t('export.csv.plain'), icon: 'rows', action: take('csv') },
      { label: t('export.json'), icon: 'file', action: take('json') },
      '-',
      { label: t('export.folders'), icon: 'folder', action: take('zip') },
      { label: t('export.page'), icon: 'globe', action: take('html', { language: ui.i18n.language }) },
      { label: t('export.pdf'), icon: 'print', action: take('pdf', { language: ui.i18n.language }) },
      { label: t('export.sheet'), icon: 'print', href: formatHash(['e', source.id, 'sheet'], { v: session.name }), target: '_blank' },
      view.linked && { label: t('export.annotations'), icon: 'link', action: take('jsonld') },
      '-',
      { label: t('download.all'), icon: 'download', href: source.link('results.zip'), download: '' },
    ],
  });
}
