// A widget in the browser: a view of the page where the notebook's server has it, else what the kernel says.

/** The base address of the Jupyter server that shows this document; null where there is none (VS Code, Colab). */
function serverBase() {
  const text = document.getElementById('jupyter-config-data')?.textContent;
  if (!text || !/^https?:$/.test(location.protocol)) return null;
  try {
    return new URL(JSON.parse(text).baseUrl ?? '/', location.href).href;
  } catch {
    return null;
  }
}

async function throughServer(model, element) {
  const base = serverBase();
  if (base === null) return null;
  try {
    const { show } = await import(`${base}dti/static/notebook.js`);
    return await show(element, model.get('spec'), { base: `${base}dti/`, onResult: (view) => follow(model, view) });
  } catch {
    return null; // a server without the service
  }
}

/** Tell the kernel what is chosen and which reading is shown. */
function follow(model, view) {
  if (model.get('reading') === undefined) return;
  let timer = null;
  const tell = () => {
    timer = null;
    model.set('selected', view.orderedSelection().map((row) => view.result.ids[row]));
    model.set('reading', view.session.name ?? 'raw');
    model.save_changes();
  };
  const soon = () => {
    timer ??= setTimeout(tell, 100);
  };
  view.ends.add(view.selection.subscribe(soon));
  view.ends.add(view.session.on(soon));
  view.ends.add(() => clearTimeout(timer));
}

function showPicture(model, element) {
  const paint = () => {
    element.innerHTML = model.get('picture');
  };
  model.on('change:picture', paint);
  paint();
  return () => model.off('change:picture', paint);
}

async function render({ model, el }) {
  const element = document.createElement('div');
  el.append(element);
  const endPicture = showPicture(model, element);
  const view = await throughServer(model, element);
  if (view) endPicture();
  return () => (view ? view.dispose() : endPicture());
}

export default { render };
