// One point of the trade-off (a reward and a β) with everything measured at it, and whether the pool can tell.
// FEWEST, MOST_THIN, LARGEST_SHAPE, ERRORS_MOVED, LEAST_MOVED, REACH and LEAST_SHARE come from explain/weights.py,
// pareto.py and curve.py.

const INTERVAL = 1.96;

/** What a curve is about: the rewards, the criteria, and their spreads within prompts. */
function makeQuestion(pool, rewards, criteria) {
  const values = [rewards, ...criteria];
  const partial = values.map((each) => each.some(Number.isNaN) && !each.every(Number.isNaN));
  return { values, partial, spreads: values.map((each) => spreadWithin(pool, each)) };
}

/** The first criterion with few scores, and the prompts on which fewer than FEWEST scored samples speak; else null. */
function unscoredAt(pool, question, point) {
  for (let j = 0; j < question.values.length; j += 1) {
    if (!question.partial[j]) continue;
    const scored = point.weights.map((weight, i) => (Number.isNaN(question.values[j][i]) ? 0 : weight));
    let thin = 0;
    for (let x = 0; x + 1 < pool.starts.length; x += 1) {
      const here = scored.subarray(pool.starts[x], pool.starts[x + 1]);
      const sum = here.reduce((total, weight) => total + weight, 0);
      const squares = here.reduce((total, weight) => total + weight * weight, 0);
      if (here.length && !(squares > 0 && sum * sum >= FEWEST * squares)) thin += 1;
    }
    if (thin > MOST_THIN * point.numPrompts) return { criterion: j - 1, thin };
  }
  return null;
}

/** Standard deviation around the prompt's mean, every pooled sample counting once; a NaN is left out. */
function spreadWithin(pool, values) {
  let squares = 0;
  let known = 0;
  for (let x = 0; x + 1 < pool.starts.length; x += 1) {
    const here = values.subarray(pool.starts[x], pool.starts[x + 1]).filter((value) => !Number.isNaN(value));
    const mean = here.reduce((sum, value) => sum + value, 0) / here.length;
    squares += here.reduce((sum, value) => sum + (value - mean) ** 2, 0);
    known += here.length;
  }
  return known ? Math.sqrt(squares / known) : 0;
}

/** Reward, criteria, KL, effective numbers, Pareto k, what leaving out a run moves, and the reasons to be unsure.
    A point that is not `thorough` has no `moves` if it is unsure anyway, which saves time. */
function pointAt(pool, question, beta, thorough = true) {
  const point = { beta, ...measure(pool, pool.whole, question, beta) };
  const numbers = effectiveNumbers(pool, point.weights).filter((number) => number > 0);
  point.effective = numbers.reduce((sum, number) => sum + number, 0);
  point.thin = numbers.filter((number) => number < FEWEST).length;
  point.numPrompts = numbers.length;
  point.shape = paretoShape(relativeWeights(pool, pool.whole, point.weights));
  point.unscored = unscoredAt(pool, question, point);
  point.moves = [];
  point.doubts = doubtsAt(pool, point);
  point.thorough = thorough || point.doubts.length === 0;
  if (point.thorough) {
    point.moves = pool.without.flatMap((mixture) => movesAt(pool, question, point, mixture));
    point.doubts = doubtsAt(pool, point);
  }
  return point;
}

function measure(pool, mixture, question, beta, weights = new Float64Array(pool.size)) {
  const weighted = weightsAt(pool, mixture, question.values[0], beta, weights);
  const kl = estimateKl(pool, mixture, weighted, question.values[0]);
  const [reward, ...criteria] = question.values.map((each) => estimate(pool, weighted.weights, each));
  return { weights: weighted.weights, kl, reward, criteria };
}

/** The figures that move beyond their error when the samples of one run are left out: reward, criteria, then KL. */
function movesAt(pool, question, point, mixture) {
  const whole = mixture.beside ? measure(pool, mixture.beside, question, point.beta, pool.scratch) : point;
  const part = measure(pool, mixture, question, point.beta, pool.scratch);
  const pairs = [[whole.reward, part.reward], ...whole.criteria.map((each, c) => [each, part.criteria[c]])];
  return [...pairs, [whole.kl, part.kl]].flatMap(([before, after], j, all) => {
    const moved = Math.abs(after.value - before.value);
    const least = LEAST_MOVED * (question.spreads[j] ?? 1);
    if (!(moved > Math.max(ERRORS_MOVED * Math.hypot(before.error, after.error), least))) return [];
    return [{ left: mixture.left, figure: j === all.length - 1 ? "kl" : j === 0 ? "reward" : j - 1, moved }];
  });
}

/** Why the pool cannot tell what happens here: any of `thin`, `shape`, `unscored`, `beyond`, `smaller`, `moves`;
    none when it can. */
function doubtsAt(pool, point) {
  const doubts = [];
  if (point.thin > MOST_THIN * point.numPrompts) doubts.push("thin");
  if (point.shape > LARGEST_SHAPE) doubts.push("shape");
  if (point.unscored) doubts.push("unscored");
  if (point.kl.value > pool.farthest + REACH) doubts.push("beyond");
  if (point.beta < LEAST_SHARE * pool.smallest) doubts.push("smaller");
  if (point.moves.length) doubts.push("moves");
  return doubts;
}

/** Points over β, from the reference (∞) to the smallest, evenly in log β, with the runs' own coefficients. */
function curveOf(pool, question, betas) {
  return betas.map((beta) => pointAt(pool, question, beta, false));
}

/** β from ∞ to the smallest: `count` values from `high` to `low`, and `own`, the runs' coefficients. */
function betasOf(low, high, count, own) {
  const betas = Array.from({ length: count }, (_, j) => high * (low / high) ** (j / (count - 1)));
  return [...new Set([Infinity, ...betas, ...own])].sort((one, other) => (one === other ? 0 : other - one));
}

/** Where the lines part: the first point at which the criterion is below its highest by more than its error while
    the reward is above what it was there; null when they do not. `sign` is −1 for a criterion that is better low. */
function partingOf(curve, criterion, sign) {
  let best = null;
  for (const point of curve) {
    const here = point.criteria[criterion];
    if (Number.isNaN(here.value)) continue;
    const top = best?.criteria[criterion];
    if (!best || sign * here.value > sign * top.value) best = point;
    else if (sign * (top.value - here.value) > INTERVAL * here.error && point.reward.value > best.reward.value) {
      return { best, point };
    }
  }
  return null;
}
