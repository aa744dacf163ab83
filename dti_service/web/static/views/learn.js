// What comes after looking: a new run from a reading, new images onto the model, other runs beside this one.

/** The menu of what can be done next with a finished run. `view.go(path, query)` leads to another view. */
export function learnMenu(view) {
  const { ui, source, session, record = {}, go } = view;
  const { t } = ui;
  const shown = () => (session.name === null ? source.id : `${source.id}/${session.name}`);
  /** What follows reads the reading from the server: what is unsaved is saved first. */
  const from = (path, query) => async () => {
    await session.settle();
    if (session.unsaved) ui.toast(t('export.unsaved'), { tone: 'bad' });
    else go(path, query());
  };
  const began = beganFrom(record);
  return ui.menuButton({
    label: t('learn'),
    iconName: 'move',
    className: 'button',
    text: true,
    items: () => [
      { label: t(session.name === null ? 'learn.start.raw' : 'learn.start'), icon: 'play', action: from(['new'], () => ({ start: shown() })) },
      { label: t('learn.assign'), icon: 'upload', action: from(['assign'], () => ({ from: modelOf(record) ?? source.id })) },
      { label: t('rerun.changes'), icon: 'rotate', action: from(['new'], () => ({ from: source.id })) },
      '-',
      began && { label: t('learn.changed'), icon: 'compare', action: from(['compare'], () => ({ a: began, b: shown() })) },
      { label: t('learn.compare'), icon: 'compare', action: from(['compare'], () => ({ a: shown() })) },
    ],
  });
}

/** "id" or "id/reading" that a run began from, or null. */
export const beganFrom = (record) => (typeof record?.parameters?.start_from === 'string' && record.parameters.start_from.trim()) || null;

/** The run whose model labelled the images of this one, or null when it learned its own. */
export const modelOf = (record) => (record?.notebook === 'assign_images' && record.parameters?.experiment) || null;
