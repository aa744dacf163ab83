// The views of dti_service.widgets in a notebook. While their kernel lives the widget is shown; in a notebook that was
// closed and opened again the server is asked; and what neither has is shown as the picture that the notebook keeps.

const OWN = 'application/vnd.dti.view+json';
const WIDGET = 'application/vnd.jupyter.widget-view+json';
const HTML = 'text/html';
const PATIENCE = 4000; // ms for a kernel, which may be busy, to say which widgets it has

export function addViews(tracker, { base, lumino }) {
  const known = new WeakSet();

  function prepare(panel) {
    const { rendermime } = panel.content;
    if (known.has(rendermime)) return;
    known.add(rendermime);
    rendermime.addFactory({ safe: true, mimeTypes: [OWN], createRenderer: () => new View() }, -100);

    /** Does the kernel of this notebook have the widget? */
    async function alive(id) {
      const kernel = panel.sessionContext.session?.kernel;
      if (!id || !kernel || kernel.status === 'dead') return false;
      if (kernel.hasComm?.(id)) return true;
      const late = new Promise((resolve) => {
        setTimeout(() => resolve(null), PATIENCE);
      });
      const answer = await Promise.race([kernel.requestCommInfo({ target_name: 'jupyter.widget' }).catch(() => null), late]);
      return Boolean(answer?.content?.comms?.[id]);
    }

    class View extends lumino.Widget {
      constructor() {
        super();
        this.layout = new lumino.PanelLayout();
        this.shown = null; // what is shown, as text, so that an output that is refreshed is not built anew
        this.addClass('jp-OutputArea-output');
      }

      async renderModel(model) {
        const spec = model.data[OWN];
        const key = JSON.stringify(spec);
        if (key === this.shown) {
          if (this.still) await this.still.renderModel(model); // the picture goes on
          return;
        }
        this.shown = key;
        this.clear();
        if (model.data[WIDGET] && (await alive(spec.model_id))) {
          if (key === this.shown) await this.put(WIDGET, model);
          return;
        }
        this.still = await this.put(HTML, model);
        const element = document.createElement('div');
        try {
          const { show } = await import(`${base}dti/static/notebook.js`);
          if (this.isDisposed || key !== this.shown) return;
          this.node.append(element);
          this.view = await show(element, spec, { base: `${base}dti/` });
        } catch {
          // A server without the service: the picture stays.
        }
        if (this.isDisposed) this.clear();
        else if (this.view) this.drop('still');
        else element.remove();
      }

      /** Show the output as another of its kinds. */
      async put(kind, model) {
        const renderer = rendermime.createRenderer(kind);
        this.layout.addWidget(renderer);
        await renderer.renderModel(model);
        return renderer;
      }

      drop(name) {
        this[name]?.dispose();
        this[name] = null;
      }

      clear() {
        this.drop('view');
        this.drop('still');
        for (const widget of [...this.layout.widgets]) widget.dispose();
      }

      dispose() {
        if (this.isDisposed) return;
        this.view?.dispose();
        super.dispose();
      }
    }
  }

  tracker.forEach(prepare);
  tracker.widgetAdded.connect((_, panel) => prepare(panel));
}
