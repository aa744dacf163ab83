// What the extension adds to JupyterLab: a tile, menu and commands that open the page, and views in saved notebooks.

import { addViews } from './views.js';

const CATEGORY = 'DTI Service';
const OPEN = 'dti-service:open';
const NEW = 'dti-service:new';
const BROWSER = 'dti-service:browser';
const ICON = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32" fill="none" stroke-width="2.4" stroke-linejoin="round">'
  + '<path class="jp-icon3" d="M5 5h13v13H5z" opacity=".5" stroke="#616161" fill="none"/>'
  + '<path d="M12 13l12-4 4.500 12.500-12.500 5z" stroke="#1b7a9e" fill="none"/></svg>';

/** `shared(name)` gives a package of JupyterLab's, or null. */
export async function plugins(shared) {
  const [application, apputils, coreutils, launcher, mainmenu, notebook, rendermime, lumino, uiComponents] = await Promise.all([
    '@jupyterlab/application', '@jupyterlab/apputils', '@jupyterlab/coreutils', '@jupyterlab/launcher', '@jupyterlab/mainmenu',
    '@jupyterlab/notebook', '@jupyterlab/rendermime', '@lumino/widgets', '@jupyterlab/ui-components',
  ].map(shared));
  const tools = { application, apputils, coreutils, rendermime, lumino };
  const base = new URL(coreutils.PageConfig.getBaseUrl(), location.href).href;
  const icon = new uiComponents.LabIcon({ name: 'dti-service:icon', svgstr: ICON });
  return [
    {
      id: 'dti-service:page',
      description: 'Opens the page of DTI Service from the launcher, the menu and the command palette.',
      autoStart: true,
      optional: [launcher?.ILauncher, apputils.ICommandPalette, mainmenu?.IMainMenu, application.ILayoutRestorer].filter(Boolean),
      activate(app, ...given) {
        // What is optional and absent comes as null, in the order of the tokens.
        const tokens = [launcher?.ILauncher, apputils.ICommandPalette, mainmenu?.IMainMenu, application.ILayoutRestorer].filter(Boolean);
        const found = new Map(tokens.map((token, at) => [token, given[at]]));
        addPage(app, { ...tools, base, icon }, {
          launcher: found.get(launcher?.ILauncher), palette: found.get(apputils.ICommandPalette), menu: found.get(mainmenu?.IMainMenu), restorer: found.get(application.ILayoutRestorer),
        });
      },
    },
    {
      id: 'dti-service:views',
      description: 'Shows the views of DTI Service in notebooks, also when their kernel is gone.',
      autoStart: true,
      optional: [notebook?.INotebookTracker].filter(Boolean),
      activate(app, tracker) {
        if (tracker) addViews(tracker, { base, lumino });
      },
    },
  ];
}

function addPage(app, { apputils, base, icon, lumino }, { launcher, palette, menu, restorer }) {
  const { commands, shell } = app;
  const tracker = new apputils.WidgetTracker({ namespace: 'dti-service' });

  /** The page in a tab of JupyterLab; its title is the tab's. */
  function tab(hash) {
    const frame = document.createElement('iframe');
    frame.title = CATEGORY;
    frame.src = `${base}dti/${hash}`;
    Object.assign(frame.style, { display: 'block', width: '100%', height: '100%', border: '0' });
    const content = new lumino.Widget();
    content.addClass('jp-IFrame'); // so that tabs can be dragged over it
    content.node.append(frame);
    const widget = new apputils.MainAreaWidget({ content });
    widget.id = `dti-service-${Date.now()}`;
    widget.title.label = CATEGORY;
    widget.title.icon = icon;
    widget.title.closable = true;
    frame.addEventListener('load', () => {
      const page = frame.contentDocument;
      const title = page?.querySelector('title');
      if (!title) return;
      const name = () => {
        widget.title.label = page.title.replace(/ · DTI$/, '') || CATEGORY;
        widget.title.caption = `${CATEGORY}: ${page.title}`;
      };
      new frame.contentWindow.MutationObserver(name).observe(title, { childList: true, characterData: true, subtree: true });
      name();
    });
    return { widget, frame };
  }

  function open(hash) {
    const { widget } = tab(hash);
    tracker.add(widget);
    shell.add(widget, 'main');
    shell.activateById(widget.id);
    return widget;
  }

  commands.addCommand(OPEN, {
    label: (args) => (args.isPalette || args.isMenu ? 'Experiments' : CATEGORY),
    caption: 'The experiments of this server: start, watch, curate, export',
    icon: (args) => (args.isPalette || args.isMenu ? undefined : icon),
    execute: (args) => {
      // One tab of experiments is enough: it is brought to the front when it is there.
      const there = args.isRestore ? null : tracker.currentWidget;
      if (there && !there.isDisposed && !args.address) {
        shell.activateById(there.id);
        return there;
      }
      return open(args.address ?? '');
    },
  });
  commands.addCommand(NEW, { label: 'New experiment', icon: (args) => (args.isMenu || args.isPalette ? undefined : icon), execute: () => open('#/new') });
  commands.addCommand(BROWSER, { label: 'Open in a browser tab', execute: () => window.open(`${base}dti/`, '_blank', 'noopener') });

  launcher?.add({ command: OPEN, category: 'Other', rank: 2 });
  for (const command of [OPEN, NEW, BROWSER]) palette?.addItem({ command, category: CATEGORY, args: { isPalette: true } });
  if (menu) {
    const entries = new lumino.Menu({ commands });
    entries.id = 'jp-mainmenu-dti-service';
    entries.title.label = CATEGORY;
    for (const command of [OPEN, NEW, BROWSER]) entries.addItem({ command, args: { isMenu: true } });
    menu.addMenu(entries, true, { rank: 950 });
  }
  restorer?.restore(tracker, { command: OPEN, args: () => ({ isRestore: true }), name: () => 'dti-service' });
}
