// What was done, in words: for the history, for messages and for screen readers.

/** "Moved 5 images from C to G" of an operation of the curation. */
export function describe(operation, { t }) {
  const { kind, data } = operation;
  const params = { ...data, names: (data.names ?? []).join(', '), tags: (data.tags ?? []).join(', ') };
  if (kind === 'move') return t(data.from === null ? 'history.move.many' : 'history.move', params);
  if (kind === 'create') return t(data.n ? 'history.create' : 'history.create.empty', params);
  if (kind === 'merge') return t(data.name === data.to ? 'history.merge' : 'history.merge.named', params);
  if (kind === 'state') return t('history.state', { ...params, state: t(`cluster.state.${data.to}`) });
  if (kind === 'note') return t(data.text ? 'history.note' : 'history.note.removed', params);
  if (kind === 'image_note') return t(data.text ? 'history.image_note' : 'history.image_note.removed', params);
  if (kind === 'image_tags') {
    return t(data.add?.length ? 'history.image_tags' : 'history.image_tags.removed', {
      ...params, tags: (data.add?.length ? data.add : data.remove ?? []).join(', '),
    });
  }
  if (kind === 'review') return t(data.to ? 'history.review.move' : 'history.review.stay', params);
  return t(`history.${kind}`, params);
}
