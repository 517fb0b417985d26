// The framework's formulas, as the server has them in analysis/views. Indices here begin at 0.
// Source: Kaiser, Visualizing Token Importance in Large Language Models (2025), formulas 4 to 7, 10 and 11.

/** Largest context window of a matrix of n input and t output tokens: ⌊min(n, t) / 2⌋, and 1 where that is 0. */
export const windowBound = (n, t) => Math.max(1, Math.floor(Math.min(n, t) / 2));

/** The rows or columns that a window of c about from…to takes in (both ends included), cut at the edges. */
export const windowOf = (from, to, c, count) => [Math.max(0, from - Math.floor(c / 2)), Math.min(count - 1, to + Math.floor(c / 2))];

/** Formula 7: from the least to the greatest of the values; all 0 where they are equal. */
export function minMax(values) {
  let low = Infinity, high = -Infinity;
  for (const value of values) { if (value < low) low = value; if (value > high) high = value; }
  const spread = high - low, found = new Float32Array(values.length);
  if (spread > 0) for (let i = 0; i < values.length; i += 1) found[i] = (values[i] - low) / spread;
  return found;
}

/** From zero to the greatest magnitude, so that zero stays white; signs are shown otherwise. */
export function fromZero(values) {
  let most = 0;
  for (const value of values) if (Math.abs(value) > most) most = Math.abs(value);
  const found = new Float32Array(values.length);
  if (most > 0) for (let i = 0; i < values.length; i += 1) found[i] = Math.abs(values[i]) / most;
  return found;
}

export const SCALES = { zero: fromZero, minmax: minMax };

/** Formula 10: the mean of several methods, each as shares of its own sum of magnitudes, since their units differ. */
export function combined(all) {
  const found = new Float32Array(all[0].length);
  for (const values of all) {
    let mass = 0;
    for (const value of values) mass += Math.abs(value);
    if (mass > 0) for (let i = 0; i < found.length; i += 1) found[i] += values[i] / mass / all.length;
  }
  return found;
}

/** Weights of turns that fade with age: decay to the power of the turns that lie between, over their sum. */
export function decayWeights(count, decay) {
  const found = Array.from({ length: count }, (_, turn) => decay ** (count - 1 - turn)), sum = found.reduce((a, b) => a + b, 0);
  return found.map((weight) => weight / sum);
}

/** Formula 11: the weighted sum over turns; what a turn has not yet is 0 there. */
export function temporal(turns, weights) {
  const found = new Float32Array(Math.max(...turns.map((values) => values.length)));
  turns.forEach((values, turn) => values.forEach((value, i) => { found[i] += weights[turn] * value; }));
  return found;
}

/** Places of the strongest values by magnitude, the strongest first. */
export function strongest(values, count) {
  const found = [];
  for (let i = 0; i < values.length; i += 1) {
    const size = Math.abs(values[i]);
    if (size === 0 || (found.length === count && size <= Math.abs(values[found[count - 1]]))) continue;
    let place = found.length;
    while (place > 0 && Math.abs(values[found[place - 1]]) < size) place -= 1;
    found.splice(place, 0, i);
    if (found.length > count) found.pop();
  }
  return found;
}
