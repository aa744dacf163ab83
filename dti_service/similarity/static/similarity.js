// Shows one image and those most like it; any of them can be taken as the next question.

const style = `
  .near-asked { display: flex; gap: 1rem; align-items: center; flex-wrap: wrap; }
  .near-grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(7rem, 1fr)); gap: .6rem; list-style: none; padding: 0; }
  .near-grid button { width: 100%; padding: .3rem; cursor: pointer; font: inherit; }
  .near-grid img, .near-asked img { width: 6rem; height: 6rem; object-fit: contain; image-rendering: auto; }
  .near-grid span { display: block; font-size: .8rem; overflow-wrap: anywhere; }`;

const make = (tag, fields = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), fields);
  element.append(...children);
  return element;
};

export async function render(element, run) {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(style);
  document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
  const title = make('h2');
  const number = make('input', { type: 'number', min: 0, value: 0, id: 'near-number' });
  const asked = make('div', { className: 'near-asked' });
  const grid = make('ol', { className: 'near-grid' });
  asked.setAttribute('aria-live', 'polite');
  element.append(make('label', { htmlFor: 'near-number' }, 'Image number '), number, title, asked, grid);

  const picture = ({ picture: path, name }) => make('img', { src: run.thumbnail(path), alt: name, loading: 'lazy' });

  async function show(image) {
    const found = await run.json(`${run.experiment.id}/near?image=${image}&limit=24`);
    number.value = image;
    number.max = found.total - 1;
    title.textContent = `Most like ${found.name}`;
    asked.replaceChildren(picture(found));
    grid.replaceChildren(...found.nearest.map((one) => {
      const button = make('button', { type: 'button' }, picture(one), make('span', {}, one.name), make('span', {}, one.distance.toFixed(4)));
      button.addEventListener('click', () => show(one.image));
      return make('li', {}, button);
    }));
  }

  number.addEventListener('change', () => show(Math.min(Math.max(0, Math.round(number.value)), number.max)));
  await show(0);
}
