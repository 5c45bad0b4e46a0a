// The shape k of a generalised Pareto distribution fitted to the largest weights (PSIS: Vehtari et al. 2024).

/** k of the ⌈min(n/5, 3√n)⌉ largest weights; −∞ if the largest are equal, ∞ if there are too few to tell. */
function paretoShape(weights) {
  const size = weights.length;
  const length = Math.ceil(Math.min(size / 5, 3 * Math.sqrt(size)));
  if (size <= 5 || length < 5) return Infinity;
  const sorted = largestOf(weights, length + 1);
  const threshold = sorted[0];
  const largest = sorted[length];
  if (largest <= threshold * (1 + 1e-12)) return -Infinity;
  const tail = sorted.subarray(1).filter((weight) => weight > threshold);
  return tail.length < 5 ? Infinity : fitPareto(tail.map((weight) => (weight - threshold) / largest));
}

/** The `count` largest values in ascending order, found by partitions (Hoare), since only they need sorting. */
function largestOf(values, count) {
  const copy = Float64Array.from(values);
  const first = copy.length - count;
  let [low, high] = [0, copy.length - 1];
  while (low < high) {
    const pivot = copy[(low + high) >> 1];
    let [left, right] = [low, high];
    while (left <= right) {
      while (copy[left] < pivot) left += 1;
      while (copy[right] > pivot) right -= 1;
      if (left > right) break;
      [copy[left], copy[right]] = [copy[right], copy[left]];
      left += 1;
      right -= 1;
    }
    if (first <= right) high = right;
    else if (first >= left) low = left;
    else break;
  }
  return copy.subarray(first).sort();
}

/** k by the profile likelihood of Zhang & Stephens (2009), drawn a little towards 0.5; `excesses` ascend from above 0. */
function fitPareto(excesses) {
  const size = excesses.length;
  const top = excesses[size - 1];
  const quartile = excesses[Math.max(0, Math.floor(size / 4 + 0.5) - 1)];
  const steps = 30 + Math.floor(Math.sqrt(size));
  const rates = new Float64Array(steps);
  const logLikelihoods = new Float64Array(steps);
  for (let j = 0; j < steps; j += 1) {
    rates[j] = (1 - Math.sqrt(steps / (j + 0.5))) / (3 * quartile) + 1 / top;
    if (Math.abs(rates[j]) < 1e-9) rates[j] = 1e-9; // the likelihood has a limit at 0, and 0/0 has none
    const shape = meanLog1p(excesses, rates[j]);
    logLikelihoods[j] = size * (Math.log(-rates[j] / shape) - shape - 1);
  }
  const best = logLikelihoods.reduce((most, value) => Math.max(most, value), -Infinity);
  let mass = 0;
  let rate = 0;
  for (let j = 0; j < steps; j += 1) {
    const likelihood = Math.exp(logLikelihoods[j] - best);
    mass += likelihood;
    rate += likelihood * rates[j];
  }
  return (size * meanLog1p(excesses, rate / mass) + 5) / (size + 10);
}

/** Mean of log(1 − rate · excess). */
function meanLog1p(excesses, rate) {
  let sum = 0;
  for (let i = 0; i < excesses.length; i += 1) sum += Math.log1p(-rate * excesses[i]);
  return sum / excesses.length;
}
