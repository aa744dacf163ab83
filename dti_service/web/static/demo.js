// Gives a demo's renderer the run that it is to show: `render(element, run)`.
//
// run.experiment      the experiment, as the REST interface describes it
// run.file(path)      address of one of its files, such as "results/prototypes/prototype0.png"
// run.thumbnail(path, size)   address of a small picture of it
// run.json(path)      promise of the answer of one of the demo's own routes, such as `near?image=3`

const element = document.getElementById('result');
const { experiment: address, demo, renderer } = element.dataset;

async function json(url) {
  const answer = await fetch(url, { credentials: 'same-origin', headers: { Accept: 'application/json' } });
  const value = await answer.json();
  if (!answer.ok) throw new Error(value.message);
  return value;
}

const file = (path) => `${address}/artifacts/${path.split('/').map(encodeURIComponent).join('/')}`;

try {
  const [module, experiment] = await Promise.all([import(renderer), json(address)]);
  await module.render(element, {
    experiment,
    file,
    thumbnail: (path, size = 128) => `${file(path)}?thumbnail=${size}`,
    json: (path) => json(`${demo}/${path}`),
  });
} catch (error) {
  const box = document.createElement('p');
  box.setAttribute('role', 'alert');
  box.textContent = error.message;
  element.append(box);
}
