// The REST interface, and one experiment as a source of pictures and data. Views know only these two.

export class ApiError extends Error {
  /** `errors`: [{field, reason}] as the server gave them; status 0: the server was not reached. */
  constructor(status, message, errors = []) {
    super(message);
    this.name = 'ApiError';
    this.status = status;
    this.errors = errors;
  }
}

function cookie(name) {
  const found = globalThis.document?.cookie.split('; ').find((item) => item.startsWith(`${name}=`));
  return found ? decodeURIComponent(found.slice(name.length + 1)) : null;
}

const escapePath = (path) => path.split('/').map(encodeURIComponent).join('/');

/**
 * `base`: address of the page ("/base/dti/"), below which `api/` lies. `token`: only where no cookie is sent. `early`:
 * path -> Promise of an answer that was asked for before anybody wanted it, or of null; the first `fetch` takes it.
 */
export class Api {
  constructor({ base, token = null, early = new Map() }) {
    this.base = new URL(base, globalThis.location?.href).href;
    this.token = token;
    this.early = early;
  }

  url(path, query = {}) {
    const url = new URL(`api/${path}`, this.base);
    for (const [name, value] of Object.entries(query)) {
      if (value !== null && value !== undefined && value !== '') url.searchParams.set(name, value);
    }
    return url.href;
  }

  headers(extra = {}) {
    const headers = { ...extra };
    const xsrf = cookie('_xsrf');
    if (xsrf) headers['X-XSRFToken'] = xsrf;
    if (this.token) headers.Authorization = `token ${this.token}`;
    return headers;
  }

  async fetch(method, path, { query, body, headers = {}, signal, json } = {}) {
    if (method === 'GET' && !query && this.early.has(path)) {
      const answer = this.early.get(path);
      this.early.delete(path);
      const found = await answer;
      if (found?.ok) return found;
    }
    const options = { method, headers: this.headers(headers), signal, credentials: 'same-origin' };
    if (json !== undefined) {
      options.body = JSON.stringify(json);
      options.headers['Content-Type'] = 'application/json';
    } else if (body !== undefined) options.body = body;
    let response;
    try {
      response = await fetch(this.url(path, query), options);
    } catch (error) {
      if (error.name === 'AbortError') throw error;
      throw new ApiError(0, 'offline');
    }
    if (!response.ok && response.status !== 304) throw await failure(response);
    return response;
  }

  async json(method, path, options) {
    const response = await this.fetch(method, path, options);
    return response.status === 204 ? null : response.json();
  }

  get(path, query, options = {}) {
    return this.json('GET', path, { query, ...options });
  }

  // -- experiments ---------------------------------------------------------------------------------------
  experiments(query, options) { return this.get('experiments', query, options); }
  experiment(id) { return this.get(`experiments/${id}`); }
  submit(request, key) {
    return this.json('POST', 'experiments', { json: request, headers: key ? { 'Idempotency-Key': key } : {} });
  }
  patch(id, change) { return this.json('PATCH', `experiments/${id}`, { json: change }); }
  remove(id) { return this.json('DELETE', `experiments/${id}`); }
  cancel(id) { return this.json('POST', `experiments/${id}/cancel`); }
  rerun(id, changes) { return this.json('POST', `experiments/${id}/rerun`, { json: changes ?? {} }); }
  assign(id, request, key) {
    return this.json('POST', `experiments/${id}/assign`, { json: request, headers: key ? { 'Idempotency-Key': key } : {} });
  }
  artifact(id, path, query) { return this.url(`experiments/${id}/artifacts/${escapePath(path)}`, query); }

  /**
   * What happens to all experiments, as it happens: `onEvent({kind, experiment_id, experiment, progress})`, of the kinds
   * created, state, updated, deleted and progress; "hello" and "reset" mean: ask for the list again. `onEnd()`: this
   * server tells nothing (any more). Returns close().
   */
  news({ onEvent, onEnd }) {
    const stream = new EventSource(this.url('experiments/events'), { withCredentials: true });
    for (const kind of NEWS_KINDS) {
      stream.addEventListener(kind, (message) => {
        try {
          onEvent({ ...JSON.parse(message.data), kind });
        } catch {
          // What cannot be read is skipped: the list is asked for again from time to time.
        }
      });
    }
    stream.onerror = () => {
      if (stream.readyState === EventSource.CLOSED) onEnd();
    };
    return () => stream.close();
  }

  // -- notebooks, datasets, devices ----------------------------------------------------------------------
  notebooks() { return this.get('notebooks'); }
  notebook(name) { return this.get(`notebooks/${escapePath(name)}`); }
  datasets(query) { return this.get('datasets', query); }
  dataset(id) { return this.get(`datasets/${id}`); }
  workers() { return this.get('workers'); }

  /** Send files as one dataset. `onProgress(sent, total)` in bytes; `signal` aborts. */
  upload(files, { name, onProgress, signal } = {}) {
    return new Promise((resolve, reject) => {
      const form = new FormData();
      if (name) form.append('name', name);
      form.append('unreadable', 'skip'); // what cannot be read is left out, and told
      for (const { file, path } of files) form.append('files', file, path ?? file.name);
      const request = new XMLHttpRequest();
      request.open('POST', this.url('datasets'));
      for (const [header, value] of Object.entries(this.headers())) request.setRequestHeader(header, value);
      request.upload.onprogress = (event) => onProgress?.(event.loaded, event.total);
      request.onerror = () => reject(new ApiError(0, 'offline'));
      request.onabort = () => reject(new DOMException('aborted', 'AbortError'));
      request.onload = () => {
        let answer = {};
        try {
          answer = JSON.parse(request.responseText);
        } catch {
          // An answer that is not JSON (a proxy's page) is reported by its status alone.
        }
        if (request.status >= 200 && request.status < 300) resolve(answer);
        else reject(new ApiError(request.status, answer.message ?? request.statusText, answer.errors));
      };
      signal?.addEventListener('abort', () => request.abort());
      request.send(form);
    });
  }

  addDocuments(documents, name) {
    return this.json('POST', 'datasets', { json: { documents, unreadable: 'skip', ...(name ? { name } : {}) } });
  }
}

async function failure(response) {
  let answer = {};
  try {
    answer = await response.json();
  } catch {
    // Not JSON: the status says what there is to say.
  }
  return new ApiError(response.status, answer.message || response.statusText, answer.errors ?? []);
}

const EVENT_KINDS = [
  'state', 'progress', 'cell', 'metrics', 'image', 'artifact', 'log', 'checkpoint', 'event', 'warning', 'end',
];

const RETRY = 5000;
const NEWS_KINDS = ['hello', 'reset', 'created', 'state', 'updated', 'deleted', 'progress'];

/** One experiment: where its files, pictures, events and curations come from. */
export class ExperimentSource {
  constructor(api, id) {
    this.api = api;
    this.id = id;
  }

  record() { return this.api.experiment(this.id); }
  file(path) { return this.api.artifact(this.id, path); }
  thumbnail(path, size) { return this.api.artifact(this.id, path, { thumbnail: size }); }
  link(name, query) { return this.api.url(`experiments/${this.id}/${name}`, query); }

  /** A prototype as the run's model fits it to an image, also one that the run did not choose for it. */
  fitted(image, prototype, size) { return this.link(`fits/${image}/${prototype}.png`, size ? { thumbnail: size } : {}); }

  /** The file that an image was read from. */
  original(image) { return this.link(`originals/${image}`); }

  /** What an image of a run with sprites is made of: {background, layers: [{sprite, share}]}. */
  layers(image) { return this.api.get(`experiments/${this.id}/layers/${image}`); }
  layer(image, part) { return this.link(`layers/${image}/${part}.png`); }

  /**
   * Which image lies in which cluster: {images, masked_prototypes, columns, table}, without the distances to other
   * clusters (for those: `table()`). null when the run has no result yet.
   */
  members() { return this.api.get(`experiments/${this.id}/members`); }

  /** The whole table of the result as CSV text, several times as large. */
  table() { return this.text('results/cluster_by_path.csv'); }

  async text(path) {
    const response = await this.api.fetch('GET', `experiments/${this.id}/artifacts/${escapePath(path)}`);
    return response.text();
  }

  /** Text of a file, or null when the run has none of that name. */
  async maybeText(path) {
    try {
      return await this.text(path);
    } catch (error) {
      if (error.status === 404) return null;
      throw error;
    }
  }

  /** The last lines of the log; "" before there is one. */
  async log(lines = 400) {
    return (await this.api.fetch('GET', `experiments/${this.id}/log`, { query: { tail: lines } })).text();
  }

  /** Names of the files below results/ that begin with `prefix`. */
  async files(prefix, limit = 1000) {
    return (await this.api.get(`experiments/${this.id}/artifacts`, { prefix, limit })).items.map((item) => item.path);
  }

  /**
   * Follow the events: `onEvent(event)` for each, from the first one. The browser reconnects by itself and
   * continues after the last one it saw. `onState("open" | "lost")` tells of the connection. Returns close().
   */
  events({ after = 0, onEvent, onState }) {
    let last = after;
    let stream = null;
    let timer = 0;
    const take = (message) => {
      try {
        const event = JSON.parse(message.data);
        const kind = message.type === 'message' ? event.kind : message.type;
        if (message.lastEventId) last = message.lastEventId;
        // The run is over and nothing will follow: without this the browser would connect again for ever.
        if (kind === 'end') stream.close();
        onEvent({ ...event, kind });
      } catch {
        // A line that is no event is skipped, as every reader of the log does.
      }
    };
    const open = () => {
      stream = new EventSource(this.link('events', { after: last }), { withCredentials: true });
      for (const kind of [...EVENT_KINDS, 'message']) stream.addEventListener(kind, take);
      stream.onopen = () => onState?.('open');
      stream.onerror = () => {
        onState?.('lost');
        // The browser tries again by itself, but not after an answer such as a proxy's "502 Bad Gateway".
        if (stream.readyState === EventSource.CLOSED) timer = setTimeout(open, RETRY);
      };
    };
    open();
    return () => {
      clearTimeout(timer);
      stream.close();
    };
  }

  /** The events after one as a list: {items, next, ended}. */
  eventList({ after = 0, limit }) {
    return this.api.get(`experiments/${this.id}/events`, { after, limit }, { headers: { Accept: 'application/json' } });
  }

  // -- curations: documents {..}, each version named by an ETag --------------------------------------------
  async curations() {
    return (await this.api.get(`experiments/${this.id}/curations`)).items;
  }

  async curation(name) {
    const response = await this.api.fetch('GET', `experiments/${this.id}/curations/${encodeURIComponent(name)}`);
    return { document: await response.json(), etag: response.headers.get('ETag') };
  }

  /** Save; `etag` is the version that was read, or null for a new one. ApiError 412: someone saved meanwhile. */
  async saveCuration(name, document, etag, { keepalive = false } = {}) {
    const headers = etag ? { 'If-Match': etag } : { 'If-None-Match': '*' };
    const path = `experiments/${this.id}/curations/${encodeURIComponent(name)}`;
    const response = await this.api.fetch('PUT', path, { json: document, headers, keepalive });
    return response.headers.get('ETag');
  }

  async removeCuration(name) {
    await this.api.fetch('DELETE', `experiments/${this.id}/curations/${encodeURIComponent(name)}`);
  }

  curationFile(name, extension, query) {
    return this.link(`curations/${encodeURIComponent(name)}.${extension}`, query);
  }
}
