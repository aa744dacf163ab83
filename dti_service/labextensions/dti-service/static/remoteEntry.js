// The extension as JupyterLab loads it: a container of module federation, written by hand so that nothing is built.
// JupyterLab calls init() with the packages that it shares, then get("./extension") for the plugins.

(() => {
  const NAME = 'dti-service';
  // document.currentScript is this file only while it is first run.
  const here = new URL('.', document.currentScript.src).href;
  let scope = {};

  /** A package that JupyterLab shares, in its highest version; null when it has none of that name. */
  async function shared(name) {
    const versions = scope[name];
    if (!versions) return null;
    const key = Object.keys(versions).sort((a, b) => a.localeCompare(b, 'en', { numeric: true })).at(-1);
    return (await versions[key].get())();
  }

  window._JUPYTERLAB = window._JUPYTERLAB ?? {};
  window._JUPYTERLAB[NAME] = {
    init(packages) {
      scope = packages;
    },
    async get() {
      const { plugins } = await import(`${here}plugins.js`);
      const made = await plugins(shared);
      return () => ({ __esModule: true, default: made });
    },
  };
})();
