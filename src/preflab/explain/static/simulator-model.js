// What the page knows: the pool, the reward asked for, the curve over β and the point one stands on.

const POINTS = 30;

/** Everything that does not change while the page is open, and the reward that the runs were trained on. */
function makeModel(data) {
  const { samples, terms, criteria } = data;
  const pool = makePool(data);
  const groups = groupTexts(samples.prompt, samples.text);
  const index = makeIndex(samples.text);
  const given = samples.criteria;
  const sim = {
    data, pool, groups, index, given,
    terms: samples.terms.map((column) => Float64Array.from(column, (value) => value ?? 0)),
    learned: terms.map(({ source }) => /reward model|learned/i.test(source ?? "")),
    criteria: given.map((column, c) => Float64Array.from(column, (value) => value ?? criteria[c].fail ?? NaN)),
    failing: given.map((column, c) => failures(column, criteria[c].fail)),
    fixed: { length: centredLengths(pool, samples.num_words), noise: noiseOf(groups) },
  };
  const trained = rewardsOf(sim.terms, terms.map(({ weight }) => weight), sim.learned, 0, []);
  sim.spread = referenceSpread(pool, trained) || spreadWithin(pool, trained) || 1;
  sim.wide = spreadWithin(pool, trained) || 1;
  const own = data.policy_info.map(({ kl_coef: coefficient }) => coefficient).filter((each) => each > 0);
  sim.low = Math.min(0.02 * sim.spread, ...own.map((each) => each / 2));
  sim.high = Math.max(10 * sim.spread, ...own.map((each) => each * 2));
  sim.betas = betasOf(sim.low, sim.high, POINTS, own);
  sim.flaws = flawsOf(sim);
  return sim;
}

/** 1 for a sample that the criterion fails: no score, or the score of a failure; all 0 for one without failures. */
function failures(column, fail) {
  return Float64Array.from(column, (value) => (fail !== null && fail !== undefined && (value === null || value === fail) ? 1 : 0));
}

/** The flaws that can be added to the reward; `most` is the largest strength, in rewards per unit. */
function flawsOf({ wide }) {
  return [
    { name: "length", label: "love of length", unit: "per 10 words", per: 0.1, least: -2 * wide, most: 2 * wide },
    { name: "flattery", label: "love of flattery", unit: "per flattering word", per: 1, least: -wide, most: wide },
    { name: "word", label: "love of a word", unit: "each time", per: 1, least: -2 * wide, most: 2 * wide },
    { name: "noise", label: "noise", unit: "standard deviation", per: 1, least: 0, most: 2 * wide },
  ];
}

function startingState(sim) {
  const { data } = sim;
  const own = data.policy_info.map(({ kl_coef: coefficient }) => coefficient).filter((each) => each > 0);
  const middle = own.sort((one, other) => one - other)[Math.floor(own.length / 2)];
  return { beta: middle ?? sim.spread, prompt: 0, criterion: 0, ...plainReward(sim) };
}

/** The reward that the runs were trained on, without flaws. */
function plainReward({ data }) {
  return {
    weights: data.terms.map(({ weight }) => weight),
    strengths: { length: 0, flattery: 0, word: 0, noise: 0 },
    reversed: 0,
    phrases: data.flattering_words.join(", "),
    word: "please",
  };
}

const phrasesOf = (text) => text.split(/[,;\n]/).map((each) => each.trim()).filter(Boolean);

/** Compute the curve for the reward that the state asks for. */
function setReward(sim, state) {
  const { strengths } = state;
  const flattery = strengths.flattery === 0 ? null : countPhrases(sim.index, phrasesOf(state.phrases));
  const word = strengths.word === 0 ? null : countPhrases(sim.index, [state.word]);
  const values = { ...sim.fixed, flattery, word };
  const features = sim.flaws.filter(({ name }) => strengths[name] !== 0).map(({ name, per }) => ({ strength: per * strengths[name], values: values[name] }));
  const rewards = rewardsOf(sim.terms, state.weights, sim.learned, state.reversed, features);
  sim.question = makeQuestion(sim.pool, rewards, sim.criteria);
  sim.curve = curveOf(sim.pool, sim.question, sim.betas);
  sim.reference = sim.curve[0];
  sim.asTrained = features.length === 0 && state.reversed === 0 && sim.data.terms.every(({ weight }, t) => weight === state.weights[t]);
  setPoint(sim, state);
}

/** Compute the point at the state's β, and what follows from it. */
function setPoint(sim, state) {
  sim.point = sim.curve.find(({ beta }) => beta === state.beta) ?? pointAt(sim.pool, sim.question, state.beta);
  const row = sim.data.criteria[state.criterion];
  sim.criterion = row ? { at: state.criterion, sign: row.higher_is_better ? 1 : -1, fail: row.fail } : null;
  sim.label = row?.label ?? "";
  sim.parting = row ? partingOf(sim.curve, state.criterion, sim.criterion.sign) : null;
  sim.unreadable = row ? estimate(sim.pool, sim.point.weights, sim.failing[state.criterion]).value : NaN;
}
