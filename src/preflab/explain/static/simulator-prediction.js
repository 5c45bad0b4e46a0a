// A guess before the first reveal, and what happens in its place.

const GUESSES = {
  rises: "It keeps rising with the learned reward.",
  level: "It rises, then stays about level.",
  falls: "It rises at first, or not at all, then falls.",
};

/** What the criterion does along the curve to its smallest β: `rises`, `level` or `falls`, with the points it turns at. */
function outcomeOf(sim) {
  const { at, sign } = sim.criterion;
  const points = sim.curve.filter((point) => Number.isFinite(point.criteria[at].value));
  const best = points.reduce((top, point) => (sign * point.criteria[at].value > sign * top.criteria[at].value ? point : top));
  const last = points.at(-1);
  const half = points[Math.floor(points.length / 2)];
  const change = (one, other) => sign * (other.criteria[at].value - one.criteria[at].value);
  const certain = (one, other) => surely(change(one, other), one.criteria[at], other.criteria[at]);
  if (certain(last, best)) return { name: "falls", best, last };
  return { name: certain(half, last) && certain(points[0], last) ? "rises" : "level", best, last };
}

function revealText(sim, guess) {
  const { at } = sim.criterion;
  const { name, best, last } = outcomeOf(sim);
  const value = (point) => figure(point.criteria[at].value);
  const start = value(sim.reference);
  const verbs = sim.criterion.sign > 0 ? ["rises", "falls"] : ["improves", "worsens"];
  const course = {
    rises: `${verbs[0]} all the way, from ${start} to ${value(last)} at KL ${figure(last.kl.value)}`,
    level: `goes from ${start} to ${value(last)} and then hardly changes`,
    falls: best.beta === Infinity ? `${verbs[1]} from ${start} to ${value(last)} at KL ${figure(last.kl.value)}` : `${verbs[0]} from ${start} to ${value(best)} at KL ${figure(best.kl.value)}, then ${verbs[1]} to ${value(last)} at KL ${figure(last.kl.value)}`,
  }[name];
  const unsure = last.doubts.length ? " Towards its end the pool is unsure; the chart draws that part grey." : "";
  const said = guess ? `You guessed: “${GUESSES[guess].replace(/^It/, sim.label).replace(/\.$/, "")}”. ${guess === name ? "That is what happens" : "Something else happens"}: ` : "";
  return `${said}${said ? "it" : sim.label} ${course}. Learned reward climbs from ${figure(sim.reference.reward.value)} to ${figure(last.reward.value)}.${unsure}`;
}

/** Ask, if there is a criterion to ask about; `onReveal` is called with the smallest β or null when skipped. */
function bindPrediction(sim, onReveal) {
  if (!sim.criterion) {
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
