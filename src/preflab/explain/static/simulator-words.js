// Figures as people read them, and what they say about the point one stands on.

/** Two or three digits, with a minus sign: 0.34, 1.20, 12.3, −4.0, 1,234. */
function figure(value) {
  if (value === null || Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value < 0 ? "−∞" : "∞";
  const size = Math.abs(value);
  const digits = size >= 99.95 ? 0 : size >= 9.995 ? 1 : 2;
  const text = size.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  return value < 0 && Number(text.replaceAll(",", "")) !== 0 ? `−${text}` : text;
}

/** A coefficient or weight with three significant digits: 0.0123, 0.3, 12. */
const coefficient = (value) => (Number.isFinite(value) ? String(Number(value.toPrecision(3))).replace("-", "−") : "∞");
const signed = (value) => (value > 0 && figure(value) !== "0.00" ? `+${figure(value)}` : figure(value));
const whole = (value) => Math.round(value).toLocaleString("en");
const plural = (number, one) => `${whole(number)} ${one}${Math.round(number) === 1 ? "" : "s"}`;
const listed = (parts) => (parts.length < 2 ? parts.join("") : `${parts.slice(0, -1).join(", ")} and ${parts.at(-1)}`);

function percent(share) {
  if (share > 0 && share < 0.001) return "< 0.1\u00a0%";
  if (share < 0.0995) return `${(100 * share).toFixed(1)}\u00a0%`.replace(".0\u00a0", "\u00a0");
  return share < 1 && share > 0.995 ? "> 99\u00a0%" : `${Math.round(100 * share)}\u00a0%`;
}

const betaText = (beta) => (beta === Infinity ? "reference only" : coefficient(beta));
const surely = (difference, one, other) => difference > INTERVAL * Math.hypot(one.error, other.error) + 1e-9;

/** What happens at this point, derived from its figures: one or two sentences and their role. */
function situation(sim) {
  const { point, reference, parting, criterion } = sim;
  const label = sim.label;
  const risen = surely(point.reward.value - reference.reward.value, point.reward, reference.reward);
  if (point.kl.value < 0.005) {
    return { role: "reference", text: "Nothing changes: KL 0.00. The policy writes what the reference writes." };
  }
  if (!criterion) {
    const plain = `Learned reward is ${risen ? "above" : "about"} the reference's.`;
    const only = "No gold, no other criterion: whether the texts are better, only reading them tells.";
    return { role: "policy", text: `${plain} ${only}` };
  }
  const now = point.criteria[criterion.at];
  const before = reference.criteria[criterion.at];
  const change = criterion.sign * (now.value - before.value);
  const fromTo = `${label} ${figure(before.value)} → ${figure(now.value)}`;
  const risk = sim.unreadable;
  if (risen && surely(-change, now, before)) {
    const weak = point.beta < sim.spread / 4 ? "This KL penalty is too small to hold it" : "This KL penalty does not hold it";
    if (risk > 0.5) {
      const fails = `${label} fails ${percent(risk)} of what is written`;
      return { role: "alarm", text: `Scores high and reads as gibberish: ${fails} (${fromTo}). ${weak}.` };
    }
    const flaws = "the reward's flaws are what it learned";
    return { role: "alarm", text: `Scores high and is worse than the reference (${fromTo}): ${flaws}. ${weak}.` };
  }
  if (parting && point.kl.value >= parting.point.kl.value) {
    const { kl, criteria } = parting.best;
    const best = `${figure(criteria[criterion.at].value)} at KL ${figure(kl.value)}, here ${figure(now.value)}`;
    return { role: "alarm", text: `Too far: learned reward still rises, and ${label} is past its best (${best}).` };
  }
  if (risen && surely(change, now, before)) {
    const learned = `learned reward ${figure(reference.reward.value)} → ${figure(point.reward.value)}`;
    return { role: "gold", text: `Better by both: ${learned}, ${fromTo}.` };
  }
  if (surely(-change, now, before)) return { role: "alarm", text: `Worse than the reference: ${fromTo}.` };
  return { role: "reference", text: `No difference in ${label} found (${fromTo}).` };
}

/** Why a point is grey, in words; "" for one that is not. */
function doubtText(sim, point) {
  const said = {
    thin: () => (
      `${whole(point.thin)} of ${plural(point.numPrompts, "prompt")} have fewer than ${FEWEST} effective samples`),
    shape: () => `a few samples decide (Pareto k ${figure(point.shape)}, above ${LARGEST_SHAPE})`,
    unscored: () => {
      const { criterion, thin } = point.unscored;
      const { label } = sim.data.criteria[criterion];
      const where = `${whole(thin)} of ${plural(point.numPrompts, "prompt")}`;
      return `on ${where} fewer than ${FEWEST} samples with a score of ${label} speak`;
    },
    beyond: () => `KL ${figure(point.kl.value)} is farther than any pooled policy went (${figure(sim.pool.farthest)})`,
    smaller: () => `no pooled run was trained with a KL penalty below ${coefficient(sim.pool.smallest)}`,
    moves: () => {
      const { left, figure: which, moved } = point.moves[0];
      const name = which === "kl" ? "KL" : which === "reward" ? "learned reward" : sim.data.criteria[which].label;
      return `${name} moves by ${figure(moved)} when the samples of ${sim.data.policies[left]} are left out`;
    },
  };
  return listed(point.doubts.map((doubt) => said[doubt]()));
}

/** The flaws and weights that no pooled run was trained on. */
function untried(sim, state) {
  const names = sim.flaws.filter(({ name }) => state.strengths[name] !== 0).map(({ label }) => label);
  if (state.reversed > 0) names.push("reversed labelers");
  sim.data.terms.forEach(({ name, weight }, t) => {
    const here = state.weights[t];
    const tried = sim.data.policy_info.some(({ trained_on: on }) => Math.sign(on?.[name] ?? 0) === Math.sign(here));
    if (here !== 0 && !tried && here !== weight) names.push(`the weight of ${name}`);
  });
  return names;
}

/** The chart's title: what the two lines do. */
function chartTitle(sim) {
  const { parting, criterion, curve, reference } = sim;
  if (!criterion) return "Learned reward rises with KL";
  const last = curve.at(-1).criteria[criterion.at];
  const rises = criterion.sign * (last.value - reference.criteria[criterion.at].value) > 0;
  const worse = criterion.sign > 0 ? "falls" : "rises";
  if (parting) {
    const unsure = parting.point.doubts.length ? " (unsure)" : "";
    return `From KL ${figure(parting.point.kl.value)} on, learned reward rises and ${sim.label} ${worse}${unsure}`;
  }
  return rises ? `Learned reward and ${sim.label} do not part` : `Learned reward rises, ${sim.label} does not`;
}

function partingText(sim) {
  const { parting, criterion } = sim;
  if (!criterion) return "";
  if (!parting) return `Along this line ${sim.label} never worsens by more than its error while learned reward rises.`;
  const { best, point } = parting;
  const unsure = point.doubts.length ? " The pool is unsure there." : "";
  const place = ({ kl, beta }) => `KL ${figure(kl.value)} (β ${betaText(beta)})`;
  const worse = "on it is worse by more than its error, while learned reward goes on rising";
  return `Where they part: ${sim.label} is best at ${place(best)}; from ${place(point)} ${worse}.${unsure}`;
}
