// What the page knows: the pool, the reward asked for, the curve over β and the point one stands on.

const NEARLY_NONE = 1 / 20; // share of the curve's smallest β that stands for no penalty at all
const FURTHER = 6; // points between them
const LEARNED = /^(reward model|ensemble of|implicit reward of) /; // sources of terms that were learned from labels

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
    learned: terms.map(({ source }) => LEARNED.test(source ?? "")),
    criteria: given.map((column, c) => Float64Array.from(column, (value) => value ?? criteria[c].fail ?? NaN)),
    silent: given.map((column, c) => Float64Array.from(column, (value) => Number((value ?? criteria[c].fail) === null))),
    failing: given.map((column, c) => failures(column, criteria[c].fail)),
    fixed: { length: centredLengths(pool, samples.num_words), noise: noiseOf(groups) },
  };
  const trained = rewardsOf(sim.terms, terms.map(({ weight }) => weight), sim.learned, 0, []);
  sim.spread = spreadWithin(pool, trained) || 1;
  const own = ownPenalties(data);
  const least = LEAST_BETA * sim.spread;
  const further = Array.from({ length: FURTHER }, (_, j) => least * NEARLY_NONE ** ((j + 1) / FURTHER));
  sim.betas = betasOf(least, MOST_BETA * sim.spread, NUM_POINTS, [...own, ...further]);
  // The slider goes on to where nothing changes any more.
  sim.low = sim.betas.at(-1);
  sim.high = Math.max(10 * sim.spread, ...own.map((each) => each * 2));
  sim.flaws = flawsOf(sim);
  return sim;
}

/** The coefficients that pooled policies were trained with. */
const ownPenalties = ({ policy_info: policies }) => policies.map(({ kl_coef: own }) => own).filter((own) => own > 0);

/** 1 for a sample that the criterion fails: no score, or the score of a failure; all 0 for one without failures. */
function failures(column, fail) {
  return Float64Array.from(column, (value) => Number(isNumber(fail) && (value === null || value === fail)));
}

/** The flaws that can be added to the reward; `most` is the largest strength, in rewards per unit. */
function flawsOf({ spread }) {
  return [
    { name: "length", label: "love of length", unit: "per 10 words", per: 0.1, least: -2 * spread, most: 2 * spread },
    { name: "flattery", label: "love of flattery", unit: "per flattering word", per: 1, least: -spread, most: spread },
    { name: "word", label: "love of a word", unit: "each time", per: 1, least: -2 * spread, most: 2 * spread },
    { name: "noise", label: "noise", unit: "standard deviation", per: 1, least: 0, most: 2 * spread },
  ];
}

function startingState(sim) {
  const { data } = sim;
  const own = ownPenalties(data);
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
  const features = sim.flaws
    .filter(({ name }) => strengths[name] !== 0)
    .map(({ name, per }) => ({ strength: per * strengths[name], values: values[name] }));
  const rewards = rewardsOf(sim.terms, state.weights, sim.learned, state.reversed, features);
  sim.question = makeQuestion(sim.pool, rewards, sim.criteria);
  sim.curve = curveOf(sim.pool, sim.question, sim.betas);
  sim.reference = sim.curve[0];
  const sameWeights = sim.data.terms.every(({ weight }, t) => weight === state.weights[t]);
  sim.asTrained = features.length === 0 && state.reversed === 0 && sameWeights;
  setPoint(sim, state);
}

/** Compute the point at the state's β, and what follows from it. */
function setPoint(sim, state) {
  const known = sim.curve.find(({ beta, thorough }) => beta === state.beta && thorough);
  sim.point = known ?? pointAt(sim.pool, sim.question, state.beta);
  const row = sim.data.criteria[state.criterion];
  sim.criterion = row ? { at: state.criterion, sign: row.higher_is_better ? 1 : -1, fail: row.fail } : null;
  sim.label = row?.label ?? "";
  sim.parting = row ? partingOf(sim.curve, state.criterion, sim.criterion.sign) : null;
  sim.unscored = row ? estimate(sim.pool, sim.point.weights, sim.silent[state.criterion]).value : 0;
  sim.unreadable = row ? estimate(sim.pool, sim.point.weights, sim.failing[state.criterion]).value : NaN;
}
