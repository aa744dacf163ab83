// A notebook's JSON Schema as a list of form fields, and the form's texts as typed values.

/** Fields in the order of the schema: {name, type, title, help, default, choices, min, max, nullable, group}. */
export function formFields(schema) {
  return Object.entries(schema?.properties ?? {}).map(([name, property]) => {
    const variants = property.anyOf ?? property.oneOf ?? [property];
    const types = variants.flatMap((one) => one.type ?? []).flat();
    const main = variants.find((one) => one.type !== 'null') ?? property;
    const choices = property.enum ?? main.enum ?? (main.const !== undefined ? [main.const] : null);
    const flat = Array.isArray(property.type) ? property.type : types;
    return {
      name,
      type: choices ? 'choice' : flat.find((type) => type !== 'null') ?? 'string',
      title: property.title ?? null,
      help: property.description ?? '',
      default: property.default,
      choices,
      min: main.minimum ?? main.exclusiveMinimum ?? null,
      max: main.maximum ?? main.exclusiveMaximum ?? null,
      nullable: flat.includes('null') || (choices ?? []).includes(null),
      group: property['x-group'] ?? 'advanced',
    };
  });
}

/** The text shown in a field for a value. */
export function textOf(field, value) {
  if (value === null || value === undefined) return '';
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}

/** The value of a text: {value} or {error: key}. An empty text means the default. */
export function valueOf(field, text) {
  const trimmed = typeof text === 'string' ? text.trim() : text;
  if (trimmed === '' || trimmed === null || trimmed === undefined) {
    return field.nullable ? { value: null } : { value: field.default };
  }
  if (field.type === 'boolean') return { value: trimmed === true || trimmed === 'true' };
  if (field.type === 'choice') {
    const found = field.choices.find((choice) => String(choice) === String(trimmed));
    return found === undefined ? { error: 'form.error.choice' } : { value: found };
  }
  if (field.type === 'integer' || field.type === 'number') {
    const value = Number(String(trimmed).replace(',', '.'));
    if (!Number.isFinite(value)) return { error: 'form.error.number' };
    if (field.type === 'integer' && !Number.isInteger(value)) return { error: 'form.error.integer' };
    if (field.min !== null && value < field.min) return { error: 'form.error.min', params: { min: field.min } };
    if (field.max !== null && value > field.max) return { error: 'form.error.max', params: { max: field.max } };
    return { value };
  }
  if (field.type === 'array' || field.type === 'object') {
    try {
      return { value: JSON.parse(trimmed) };
    } catch {
      return { error: 'form.error.json' };
    }
  }
  return { value: trimmed };
}

/** Only what differs from the defaults, so that a rerun follows the notebook's own choices. */
export function changed(fields, values) {
  const out = {};
  for (const field of fields) {
    if (!(field.name in values)) continue;
    const value = values[field.name];
    if (value !== undefined && JSON.stringify(value) !== JSON.stringify(field.default)) out[field.name] = value;
  }
  return out;
}

/** Errors of an answer by field name: "parameters.n_prototypes" and "n_prototypes" both mean that field. */
export function errorsByField(errors = []) {
  const found = new Map();
  for (const { field, reason } of errors) {
    const name = String(field ?? '').replace(/^parameters[./]/, '');
    found.set(name, found.has(name) ? `${found.get(name)}; ${reason}` : reason);
  }
  return found;
}
