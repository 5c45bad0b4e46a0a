// The numbers behind the chart, as tables.

const withError = ({ value, error }) => (Number.isNaN(value) ? "–" : `${figure(value)} ± ${figure(INTERVAL * error)}`);

/** A table that becomes cards on a phone: heads, and rows of cells; the first cell names its row. */
function makeTable(caption, heads, rows) {
  const head = make("tr", {}, ...heads.map((text) => make("th", { scope: "col" }, text)));
  const cell = (text, c) => make("td", c === 0 ? { class: "who" } : { "data-label": heads[c] }, text);
  const body = rows.map((cells) => make("tr", {}, ...cells.map(cell)));
  const parts = [make("caption", { class: "caption" }, caption), make("thead", {}, head), make("tbody", {}, ...body)];
  return make("table", { class: "stack" }, ...parts);
}

function curveTable(sim) {
  const { data } = sim;
  const heads = ["β", "KL, nats", "learned reward", ...data.criteria.map(({ label }) => label)];
  heads.push("effective samples", `prompts below ${FEWEST}`, "Pareto k", "sure?");
  const rows = sim.curve.map((point) => [
    betaText(point.beta), withError(point.kl), withError(point.reward), ...point.criteria.map(withError),
    `${whole(point.effective)} of ${whole(sim.pool.size)}`, `${whole(point.thin)} of ${whole(point.numPrompts)}`,
    figure(point.shape),
    point.doubts.length ? `unsure: ${doubtText(sim, point)}` : "yes",
  ]);
  return makeTable("The lines: the optimum at each β, ± 1.96 Monte Carlo errors for these prompts.", heads, rows);
}

function runsTable(sim) {
  const { data } = sim;
  const interval = (of) => {
    if (!isNumber(of?.value)) return "–";
    return isNumber(of.low) ? `${figure(of.value)} (${figure(of.low)} to ${figure(of.high)})` : figure(of.value);
  };
  const rows = data.runs.map((run) => [
    run.name, run.kl_coef === null ? "–" : coefficient(run.kl_coef), interval(run.kl), interval(run.reward),
    ...run.criteria.map(interval), leftText(sim, run) || "–",
  ]);
  const heads = ["run", "its KL penalty", "KL, nats", "learned reward", ...data.criteria.map(({ label }) => label)];
  heads.push("what training left");
  return makeTable("The dots: trained runs on their own samples, with 95 % intervals over prompts.", heads, rows);
}

/** How far below the line a run lies at its own KL; "" if the line was made for another reward or does not reach it. */
function leftText(sim, run) {
  if (!sim.asTrained || !isNumber(run.reward?.value) || !isNumber(run.kl?.value)) return "";
  const best = valueAtKl(sim.curve.map(({ kl, reward }) => ({ kl: kl.value, value: reward.value })), run.kl.value);
  if (Number.isNaN(best)) return "";
  const left = best - run.reward.value;
  const unsure = unsureAtKl(sim.curve, run.kl.value) ? "; the line is unsure there" : "";
  if (!isNumber(run.reward.low)) return `${figure(left)} below, without an interval`;
  const error = (run.reward.high - run.reward.low) / 2;
  const line = `line ${figure(best)}`;
  if (!(Math.abs(left) > error)) return `no difference found (${line}, could have seen ${figure(error)}${unsure})`;
  if (left < 0) return `nothing: the run is above the line by ${figure(-left)} (${line}${unsure})`;
  return `${figure(left)} below (${line}, run ${figure(run.reward.value)}${unsure})`;
}

/** Whether the line is unsure at a KL: at either of the points around it. */
function unsureAtKl(curve, kl) {
  const after = curve.findIndex((point) => point.kl.value >= kl);
  return curve.slice(Math.max(0, after - 1), after + 1).some(({ doubts }) => doubts.length > 0);
}

function showTables(sim) {
  const fold = byId("numbers");
  if (!fold.open) return;
  const parts = [curveTable(sim)];
  if (sim.data.runs.length) parts.push(runsTable(sim));
  byId("tables").replaceChildren(...parts.map((table) => make("div", { class: "scroll" }, table)));
  byId("tables").querySelectorAll(".scroll").forEach(makeReachable);
}
