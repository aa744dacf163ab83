// How long a run of DTI clustering will take: a small model of the time for a step, corrected by runs that have finished.

// One thread of a processor took 0.15, 0.39 and 0.89 s for a step of 64, 32 and 16 images of 28, 64 and 128 pixels with
// 10 prototypes: 3 microseconds for each pixel of each image. Going from 10 to 40 prototypes added 16 %.
const SECONDS_PER_PIXEL = 3.0e-6;
const MORE_PER_PROTOTYPE = 0.16 / 30;
const AROUND = 15; // seconds to start a notebook and to write the results

// What the preset "auto" means for the sample images, and for a person's own.
const SAMPLE = { image_size: 28, epochs: 40, batch_size: 128 };
const OWN = { image_size: 64, epochs: null, batch_size: 32 };
const NAMED = { digits: SAMPLE, crops: OWN };
const [STEPS, FEWEST_EPOCHS, MOST_EPOCHS] = [3000, 20, 400];

const middle = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];

/** {imageSize, epochs, k} of a run with these parameters on n images; null where only the preset knows them. */
export function settingsOf(parameters, n) {
  const preset = parameters.preset || 'auto';
  const usual = preset === 'auto' ? (parameters.dataset === 'sample' ? SAMPLE : OWN) : NAMED[preset] ?? {};
  const imageSize = parameters.image_size ?? usual.image_size;
  const batch = Math.min(parameters.batch_size ?? usual.batch_size ?? n, n);
  let epochs = parameters.epochs ?? usual.epochs;
  if (epochs === null) epochs = Math.min(MOST_EPOCHS, Math.max(FEWEST_EPOCHS, Math.round(STEPS / Math.ceil(n / batch))));
  return imageSize > 0 && epochs > 0 ? { imageSize, epochs, k: parameters.n_prototypes ?? 10 } : null;
}

/** Seconds that training with one image takes, on one thread. */
export const secondsPerImage = ({ imageSize, k }) => SECONDS_PER_PIXEL * imageSize ** 2 * Math.max(0.5, 1 + MORE_PER_PROTOTYPE * (k - 10));

/**
 * {seconds, runs}: how long one run will take; `runs` is the number of finished ones that it goes by, 0 for a first
 * guess. null when nothing is known: a device that nothing has run on yet, or a preset of unknown length.
 * `past`: finished experiments of the same notebook; `modelled`: that notebook's time is what the model above is of.
 */
export function estimateRun({ n, parameters, device, past = [], modelled = true }) {
  if (!(n > 0)) return null;
  const like = past.filter((item) => item.metrics?.images_per_s > 0 && kindOf(item.device) === kindOf(device));
  const wanted = modelled ? settingsOf(parameters, n) : null;
  const asGuessed = like.flatMap((item) => {
    const settings = settingsOf({ ...item.parameters, dataset: item.dataset ?? item.parameters?.dataset }, item.metrics.n_images ?? 1);
    return settings ? [1 / item.metrics.images_per_s / secondsPerImage(settings)] : [];
  });
  if (wanted && (asGuessed.length || kindOf(device) === 'cpu')) {
    const slower = asGuessed.length ? middle(asGuessed) : 1;
    return { seconds: AROUND + n * wanted.epochs * secondsPerImage(wanted) * slower, runs: asGuessed.length };
  }
  if (!like.length) return null;
  const epochs = parameters.epochs ?? middle(like.map((item) => item.metrics.epochs ?? 0));
  return epochs > 0 ? { seconds: AROUND + (n * epochs) / middle(like.map((item) => item.metrics.images_per_s)), runs: like.length } : null;
}

const kindOf = (device) => (/^cuda/.test(device ?? '') ? 'cuda' : 'cpu');
