// Importance weights of pooled samples for π ∝ π_ref · exp(R / β), normalised per prompt, and what they estimate.

/** The pooled samples as arrays, sorted by prompt: starts[x] … starts[x + 1] are the samples of prompt x. */
function makePool(data) {
  const { samples, policies, prompts } = data;
  const size = samples.text.length;
  const starts = new Int32Array(prompts.length + 1);
  for (const prompt of samples.prompt) starts[prompt + 1] += 1;
  for (let x = 0; x < prompts.length; x += 1) starts[x + 1] += starts[x];
  const logps = samples.logps.map((column) => Float64Array.from(column, (value) => value ?? -Infinity));
  const pool = { size, starts, logps, policy: Int32Array.from(samples.policy), prompt: Int32Array.from(samples.prompt) };
  pool.scratch = new Float64Array(size);
  pool.whole = mixtureOf(pool, -1);
  pool.kls = pooledKls(pool);
  pool.smallest = smallestTrained(data.policy_info.slice(1));
  pool.farthest = pool.kls.reduce((most, kl) => (kl > most ? kl : most), 0);
  // What the pool would be without one run's samples; the reference always stays.
  pool.without = policies.slice(1).map((_, k) => ({ left: k + 1, ...mixtureOf(pool, k + 1) }));
  pool.without = pool.without.filter(({ counted }) => counted > 0 && counted < size);
  for (const mixture of pool.without) mixture.beside = withoutLonely(pool, mixture);
  return pool;
}

/** The smallest KL penalty that a run was trained with; 0 if one is unknown or there are no runs. */
function smallestTrained(runs) {
  const own = runs.map(({ kl_coef: coefficient }) => coefficient ?? 0);
  return own.length ? Math.min(...own) : 0;
}

/** KL of each pooled policy to the reference: the mean of log π_k/π_ref over its own samples; NaN without any. */
function pooledKls(pool) {
  const sums = new Float64Array(pool.logps.length);
  const counts = new Float64Array(pool.logps.length);
  for (let i = 0; i < pool.size; i += 1) {
    const k = pool.policy[i];
    sums[k] += pool.logps[k][i] - pool.logps[0][i];
    counts[k] += 1;
  }
  return sums.map((sum, k) => (counts[k] ? Math.max(0, sum / counts[k]) : NaN));
}

/** The whole pool less the prompts that only the left-out run answered, to compare with; null if there are none. */
function withoutLonely(pool, mixture) {
  const { base, sizes } = pool.whole;
  if (!sizes.some((size, x) => size > 0 && mixture.sizes[x] === 0)) return null;
  return withPlain(pool, {
    base: base.map((value, i) => (mixture.sizes[pool.prompt[i]] === 0 ? -Infinity : value)),
    sizes: sizes.map((size, x) => (mixture.sizes[x] === 0 ? 0 : size)),
  });
}

/** log(π_ref / mixture) of every sample and the samples per prompt, with the samples of policy `left` left out. */
function mixtureOf(pool, left) {
  const { size, starts, logps, policy } = pool;
  const base = new Float64Array(size).fill(-Infinity);
  const sizes = new Float64Array(starts.length - 1);
  let counted = 0;
  for (let x = 0; x + 1 < starts.length; x += 1) {
    const counts = new Float64Array(logps.length);
    for (let i = starts[x]; i < starts[x + 1]; i += 1) if (policy[i] !== left) counts[policy[i]] += 1;
    const here = counts.reduce((sum, count) => sum + count, 0);
    sizes[x] = here;
    counted += here;
    for (let i = starts[x]; i < starts[x + 1]; i += 1) {
      if (policy[i] === left) continue;
      let top = -Infinity;
      for (let k = 0; k < logps.length; k += 1) if (counts[k] > 0) top = Math.max(top, logps[k][i]);
      let sum = 0;
      for (let k = 0; k < logps.length; k += 1) {
        if (counts[k] > 0) sum += (counts[k] / here) * Math.exp(logps[k][i] - top);
      }
      base[i] = logps[0][i] - (top + Math.log(sum));
    }
  }
  return withPlain(pool, { base, sizes, counted });
}

/** A mixture with the weights of the reference itself. */
function withPlain(pool, mixture) {
  return { ...mixture, plain: weightsAt(pool, mixture, new Float64Array(pool.size), Infinity) };
}

/** Weights that sum to 1 over the samples of each prompt, and each prompt's log of the sum before; NaN without samples.
    They are written into `weights`, if it is given. */
function weightsAt(pool, mixture, rewards, beta, weights = new Float64Array(pool.size)) {
  const { starts } = pool;
  const { base, sizes } = mixture;
  const logSums = new Float64Array(sizes.length).fill(NaN);
  const scale = beta === Infinity ? 0 : 1 / beta;
  for (let x = 0; x < sizes.length; x += 1) {
    let top = -Infinity;
    for (let i = starts[x]; i < starts[x + 1]; i += 1) {
      weights[i] = base[i] + scale * rewards[i];
      if (weights[i] > top) top = weights[i];
    }
    if (top === -Infinity) {
      weights.fill(0, starts[x], starts[x + 1]);
      continue;
    }
    let sum = 0;
    for (let i = starts[x]; i < starts[x + 1]; i += 1) sum += weights[i] = Math.exp(weights[i] - top);
    for (let i = starts[x]; i < starts[x + 1]; i += 1) weights[i] /= sum;
    logSums[x] = top + Math.log(sum);
  }
  return { weights, logSums, scale };
}

/** Mean over prompts of Σ w·f, and its Monte Carlo error √(Σ w²(f − f̂)²) / prompts; a NaN in f is left out. */
function estimate(pool, weights, values) {
  const { starts } = pool;
  let total = 0;
  let squares = 0;
  let prompts = 0;
  for (let x = 0; x + 1 < starts.length; x += 1) {
    const [start, end] = [starts[x], starts[x + 1]];
    let mass = 0;
    let mean = 0;
    for (let i = start; i < end; i += 1) {
      if (values[i] !== values[i]) continue; // NaN
      mass += weights[i];
      mean += weights[i] * values[i];
    }
    if (!(mass > 0)) continue;
    mean /= mass;
    let spread = 0;
    for (let i = start; i < end; i += 1) {
      if (values[i] !== values[i]) continue;
      const part = weights[i] * (values[i] - mean);
      spread += part * part;
    }
    total += mean;
    squares += spread / (mass * mass);
    prompts += 1;
  }
  if (prompts === 0) return { value: NaN, error: NaN };
  return { value: total / prompts, error: Math.sqrt(squares) / prompts };
}

/** KL(π ‖ π_ref) in nats, the mean over prompts of Σ w·R/β − log E_ref[exp(R/β)], floored at 0, and its error. */
function estimateKl(pool, mixture, weighted, rewards) {
  const { starts } = pool;
  const { weights, logSums, scale } = weighted;
  const { plain } = mixture; // the weights of the reference itself
  let total = 0;
  let squares = 0;
  let prompts = 0;
  for (let x = 0; x < logSums.length; x += 1) {
    if (Number.isNaN(logSums[x])) continue;
    let mean = 0;
    for (let i = starts[x]; i < starts[x + 1]; i += 1) mean += weights[i] * scale * rewards[i];
    total += mean - (logSums[x] - plain.logSums[x]);
    for (let i = starts[x]; i < starts[x + 1]; i += 1) {
      const part = weights[i] * (scale * rewards[i] - mean - 1) + plain.weights[i];
      squares += part * part;
    }
    prompts += 1;
  }
  if (prompts === 0) return { value: NaN, error: NaN };
  return { value: Math.max(0, total / prompts), error: Math.sqrt(squares) / prompts };
}

/** Each prompt's effective number of samples, 1 / Σ w². */
function effectiveNumbers(pool, weights) {
  const { starts } = pool;
  const numbers = new Float64Array(starts.length - 1);
  for (let x = 0; x < numbers.length; x += 1) {
    let squares = 0;
    for (let i = starts[x]; i < starts[x + 1]; i += 1) squares += weights[i] * weights[i];
    numbers[x] = squares > 0 ? 1 / squares : 0;
  }
  return numbers;
}

/** Weights relative to their prompt's mean: what the Pareto fit looks at. */
function relativeWeights(pool, mixture, weights) {
  const ratios = new Float64Array(mixture.counted);
  let next = 0;
  for (let x = 0; x < mixture.sizes.length; x += 1) {
    for (let i = pool.starts[x]; i < pool.starts[x + 1]; i += 1) {
      if (mixture.base[i] !== -Infinity) ratios[next++] = weights[i] * mixture.sizes[x];
    }
  }
  return ratios.subarray(0, next);
}
