// A guess before the first reveal, and what happens in its place.

const GUESSES = {
  rises: "It keeps rising with the learned reward.",
  level: "It rises, then stays about level.",
  falls: "It rises at first, or not at all, then falls.",
};

/** What the criterion does along the curve: `rises`, `level` or `falls`, with its best and its last point. */
function outcomeOf(sim) {
  const { at, sign } = sim.criterion;
  const points = sim.curve.filter((point) => Number.isFinite(point.criteria[at].value));
  const score = (point) => sign * point.criteria[at].value;
  const best = points.reduce((top, point) => (score(point) > score(top) ? point : top));
  const last = points.at(-1);
  const half = points[Math.floor(points.length / 2)];
  const change = (one, other) => sign * (other.criteria[at].value - one.criteria[at].value);
  const certain = (one, other) => surely(change(one, other), one.criteria[at], other.criteria[at]);
  if (certain(last, best) || freeRunFell(sim, best)) return { name: "falls", best, last };
  return { name: certain(half, last) && certain(points[0], last) ? "rises" : "level", best, last };
}

/** A run that was trained without a KL penalty and measured by the criterion; undefined if there is none. */
const freeRun = (sim) =>
  sim.data.runs.find(({ kl_coef: own, criteria }) => own === 0 && isNumber(criteria[sim.criterion.at]?.value));

function freeRunFell(sim, best) {
  const { at, sign } = sim.criterion;
  const measured = freeRun(sim)?.criteria[at];
  return measured !== undefined && sign * (best.criteria[at].value - (sign > 0 ? measured.high : measured.low)) > 0;
}

function revealText(sim, guess) {
  const { at } = sim.criterion;
  const { name, best, last } = outcomeOf(sim);
  const value = (point) => figure(point.criteria[at].value);
  const place = (point) => `${value(point)} at KL ${figure(point.kl.value)}`;
  const start = value(sim.reference);
  const verbs = sim.criterion.sign > 0 ? ["rises", "falls"] : ["improves", "worsens"];
  const course = {
    rises: `${verbs[0]} all the way, from ${start} to ${place(last)}`,
    level: `goes from ${start} to ${value(last)} and then hardly changes`,
    falls: best.beta === Infinity
      ? `${verbs[1]} from ${start} to ${place(last)}`
      : `${verbs[0]} from ${start} to ${place(best)}, then ${verbs[1]} to ${place(last)}`,
  }[name];
  const unsure = last.doubts.length ? " Towards the end of the line the pool is unsure; the chart draws that part grey." : "";
  const guessed = GUESSES[guess].replace(/^It/, sim.label).replace(/\.$/, "");
  const verdict = guess === name ? "That is what happens" : "Something else happens";
  const climb = `Learned reward climbs from ${figure(sim.reference.reward.value)} to ${figure(last.reward.value)}.`;
  return `You guessed: “${guessed}”. ${verdict}: it ${course}. ${climb}${unsure}${freeText(sim)}`;
}

/** What really happened to a run without a penalty. */
function freeText(sim) {
  const run = freeRun(sim);
  if (!run) return "";
  const end = `${sim.label} ${figure(run.criteria[sim.criterion.at].value)}, learned reward ${figure(run.reward.value)}`;
  return ` ${run.name} was really trained without a penalty: it ended at ${end}, KL ${figure(run.kl.value)}.`;
}

/** Whether the criterion has a value anywhere along the curve. */
const hasCourse = ({ criterion, curve }) =>
  criterion !== null && curve.some(({ criteria }) => Number.isFinite(criteria[criterion.at].value));

/** Ask, if there is a criterion to ask about; `onReveal` is called with the smallest β or null when skipped. */
function bindPrediction(sim, onReveal) {
  if (!hasCourse(sim)) {
    byId("guess").hidden = true;
    onReveal(null);
    return;
  }
  const open = (guess) => {
    byId("guess").hidden = true;
    byId("revealed").hidden = guess === null;
    if (guess !== null) setText(byId("revealed-text"), revealText(sim, guess));
    onReveal(guess === null ? null : sim.low);
    byId(guess === null ? "lab-title" : "revealed-title").focus();
  };
  byId("guess-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const chosen = byId("guess-form").querySelector("input:checked");
    byId("guess-missing").hidden = chosen !== null;
    if (chosen) open(chosen.value);
    else byId("guess-form").querySelector("input").focus();
  });
  byId("skip-guess").addEventListener("click", () => open(null));
}
