// Words, numbers, dates and durations in the reader's language.

/** Languages by code, each called by its own name. */
export const LANGUAGES = { en: 'English', fr: 'Français' };

const FILES = { en: () => import('../i18n/en.js'), fr: () => import('../i18n/fr.js') };

/** The words of a language; only the file of the one that is read is fetched. */
export async function loadWords(language) {
  return (await (FILES[language] ?? FILES.en)()).default;
}

/** The language to begin with: the one chosen before, else the browser's when it is known, else English. */
export function preferredLanguage(chosen, languages = globalThis.navigator?.languages ?? []) {
  for (const tag of [chosen, ...languages]) {
    const language = String(tag ?? '').slice(0, 2).toLowerCase();
    if (language in LANGUAGES) return language;
  }
  return 'en';
}

/**
 * `words`: what `loadWords` gave. t(key, {n, name}) replaces {name} and picks one/other by n; a key without words
 * shows itself. Both languages have the same keys, which the tests see to.
 */
export function createI18n(language, words, locales = globalThis.navigator?.languages ?? []) {
  // Numbers and dates as in the reader's own country where it is known: 3 Mar or Mar 3.
  const locale = locales.find((tag) => tag.startsWith(`${language}-`)) ?? { en: 'en-GB' }[language] ?? language;
  // Formats take long to make (the first ones a hundred milliseconds): each is made when first needed, and kept.
  const made = new Map();
  const kept = (name, make) => {
    if (!made.has(name)) made.set(name, make());
    return made.get(name);
  };
  const numbers = (name, options) => kept(name, () => new Intl.NumberFormat(locale, options));

  function number(value, digits = 3) {
    if (value === null || value === undefined || !Number.isFinite(value)) return '–';
    if (Number.isInteger(value)) return numbers('integer', { maximumFractionDigits: 0 }).format(value);
    return numbers(`digits ${digits}`, { maximumSignificantDigits: digits }).format(value);
  }

  function t(key, params = {}) {
    let entry = words[key] ?? key;
    if (typeof entry === 'object') entry = entry[kept('plural', () => new Intl.PluralRules(language)).select(params.n ?? 0)] ?? entry.other;
    return entry.replace(/\{(\w+)\}/g, (whole, name) => {
      const value = params[name];
      if (value === undefined) return whole;
      return typeof value === 'number' ? number(value) : String(value);
    });
  }

  /** Four decimals at most, always the same width in a column: 0.083. */
  function distance(value) {
    if (!Number.isFinite(value)) return '–';
    const digits = value >= 100 ? 0 : value >= 10 ? 1 : value >= 1 ? 2 : value >= 0.001 ? 3 : 5;
    return numbers(`fraction ${digits}`, { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value);
  }

  function duration(seconds) {
    if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return '–';
    const whole = Math.max(0, Math.round(seconds));
    const [days, hours] = [Math.floor(whole / 86400), Math.floor(whole / 3600) % 24];
    const [minutes, rest] = [Math.floor(whole / 60) % 60, whole % 60];
    if (days) return t('time.dh', { days, hours });
    if (hours) return t('time.hm', { hours, minutes });
    if (minutes) return t('time.ms', { minutes, seconds: rest });
    return t('time.s', { seconds: rest });
  }

  /** A time that is only guessed: "40 s", "7 min", "2 h 30 min". */
  function roughly(seconds) {
    if (seconds < 90) return t('time.s', { seconds: Math.max(10, Math.round(seconds / 10) * 10) });
    if (seconds < 5400) return t('time.m', { minutes: Math.round(seconds / 60) });
    if (seconds < 36000) {
      const tens = Math.round(seconds / 600);
      return tens % 6 ? t('time.hm', { hours: Math.floor(tens / 6), minutes: (tens % 6) * 10 }) : t('time.h', { hours: tens / 6 });
    }
    return t('time.h', { hours: Math.round(seconds / 3600) });
  }

  const day = () => kept('day', () => new Intl.DateTimeFormat(locale, { day: 'numeric', month: 'short', year: 'numeric' }));
  const clock = () => kept('clock', () => new Intl.DateTimeFormat(locale, { hour: '2-digit', minute: '2-digit' }));
  const parse = (value) => {
    const date = value instanceof Date ? value : new Date(value ?? NaN);
    return Number.isNaN(date.getTime()) ? null : date;
  };
  const date = (value) => (parse(value) ? day().format(parse(value)) : '–');
  const time = (value) => (parse(value) ? clock().format(parse(value)) : '–');

  function bytes(value) {
    if (!Number.isFinite(value)) return '–';
    const units = ['B', 'kB', 'MB', 'GB', 'TB'];
    let [size, unit] = [value, 0];
    while (size >= 1000 && unit < units.length - 1) [size, unit] = [size / 1000, unit + 1];
    return `${number(size, size < 10 ? 2 : 3)} ${units[unit]}`;
  }

  const collator = () => kept('collator', () => new Intl.Collator(locale, { numeric: true, sensitivity: 'base' }));
  return {
    language, t, number, distance, duration, roughly, date, time, bytes,
    percent: (share) => numbers('percent', { style: 'percent' }).format(Number.isFinite(share) ? share : 0),
    dateTime: (value) => (parse(value) ? `${date(value)}, ${time(value)}` : '–'),
    compare: (a, b) => collator().compare(a, b),
  };
}
