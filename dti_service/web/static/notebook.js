// A view in the output of a notebook's cell, where the server of the notebook knows the experiments that it shows.

import { Api } from './lib/api.js';
import { embed } from './embed.js';

/**
 * Fill `element` with the view that `spec` names: {kind, address, experiment, host, data_dir}. null when the server at
 * `base` does not have that experiment, or keeps other experiments than the notebook does; nothing is changed then.
 */
export async function show(element, spec, { base, onResult }) {
  const api = new Api({ base });
  if (!(await knows(api, spec))) return null;
  return embed(element, { api, address: spec.address, kind: spec.kind, onResult });
}

async function knows(api, { experiment, host, data_dir: folder }) {
  try {
    if (experiment) return Boolean(await api.experiment(experiment));
    const here = await api.get('monitor');
    return here.host === host && here.disk.path === folder;
  } catch {
    return false;
  }
}
