// The curves over steps, the choice of a step, and the curve's numbers as a table.
const MARGINS = "margins";
const MOST_IN_TABLE = 400;
let stepUnder = () => 0;

const marginRows = (run) => run.rows.filter((row) => row.side === "chosen");

function metricOptions() {
  const margins = runs.some((run) => marginRows(run).length) ? [[MARGINS, "margin of every kept pair"]] : [];
  return [...margins, ...page.metrics.map((name) => [name, name])];
}

// The lines of the chosen curve: one per run, or one per pair and their mean.
function trendLines() {
  if (state.metric !== MARGINS) {
    return runs.flatMap((run, index) => {
      const ys = curveOf(run, state.metric);
      const label = runs.length > 1 ? run.name : "";
      return ys ? [{ xs: run.metrics.steps, ys: [...ys], role: index ? "policy second" : "policy", label }] : [];
    });
  }
  return runs.flatMap((run, index) => {
    const rows = marginRows(run);
    const role = index ? "policy second" : "policy";
    const single = [...new Set(rows.map((row) => row.pair))].map((pair) => {
      const own = rows.filter((row) => row.pair === pair);
      const open = state.first?.run === index && state.first.pair === pair ? " open" : "";
      return { xs: own.map((row) => row.step), ys: own.map((row) => row.margin), role: `thin reference${open}`, label: "", pair };
    });
    const means = run.steps.map((step) => {
      const values = rows.filter((row) => row.step === step).map((row) => row.margin);
      return sum(values) / values.length;
    });
    return [...single, { xs: run.steps, ys: means, role, label: runs.length > 1 ? `mean of ${run.name}` : "mean" }];
  });
}

function trendSaid(lines) {
  const parts = lines.filter((line) => !line.role.includes("thin")).map((line) => {
    const finite = line.ys.filter(Number.isFinite);
    const from = `${number(finite[0])} to ${number(finite.at(-1))}`;
    return `${line.label || runs[0].name}: from ${from} over steps ${line.xs[0]} to ${line.xs.at(-1)}`;
  });
  return `${state.metric === MARGINS ? "Margins of the kept pairs" : state.metric}. ${parts.join("; ")}.`;
}

function meaningOf(name) {
  if (name === MARGINS) return "Score of the chosen completion less that of the rejected one: a thin line per pair, the open one strong, and their mean.";
  const entry = page.glossary[name];
  if (!entry) return "";
  const unit = entry.unit ? `, ${entry.unit}` : "";
  return `${name}${unit}: ${entry.meaning}.${entry.healthy ? ` Healthy: ${entry.healthy}.` : ""}${entry.trouble ? ` Trouble: ${entry.trouble}.` : ""}`;
}

function drawTrend() {
  const lines = trendLines();
  const width = Math.max(280, Math.floor(part("chart").clientWidth));
  const marks = runs.flatMap((run) => run.alarms.map((alarm) => ({ step: alarm.step, text: alarm.mark })));
  const drawn = drawChart(lines, { width, marks, kept: runs[state.run].steps, at: state.step, said: trendSaid(lines) });
  part("chart").replaceChildren(drawn.svg);
  stepUnder = drawn.stepAt;
  part("meaning").textContent = meaningOf(state.metric);
  const steps = runs[state.run].steps;
  part("step").max = Math.max(0, steps.length - 1);
  part("step").value = Math.max(0, steps.indexOf(state.step));
  part("step").disabled = steps.length < 2;
  part("step-said").textContent = stepSaid(lines);
  part("step").setAttribute("aria-valuetext", stepSaid(lines));
  if (part("trend-table").open) fillTrendTable();
}

function stepSaid(lines) {
  if (state.step === null) return "no step was kept";
  const values = lines.filter((line) => !line.role.includes("thin")).map((line) => {
    const index = line.xs.indexOf(state.step);
    return `${line.label ? `${line.label} ` : ""}${number(index < 0 ? NaN : line.ys[index])}`;
  });
  return `${state.step}: ${state.metric === MARGINS ? "margin" : state.metric} ${values.join(", ")}`;
}

function fillTrendTable() {
  const lines = trendLines();
  const steps = [...new Set(lines.flatMap((line) => line.xs))].sort((one, other) => one - other);
  const stride = Math.ceil(steps.length / MOST_IN_TABLE);
  const maps = lines.map((line) => new Map(line.xs.map((step, index) => [step, line.ys[index]])));
  const rows = steps
    .filter((_, index) => index % stride === 0)
    .map((step) => [String(step), ...maps.map((map) => number(map.get(step), 6))]);
  const heading = (line) => (line.pair !== undefined ? `pair ${line.pair}` : line.label || state.metric);
  const table = tableOf(["step", ...lines.map(heading)], rows, "Numbers of the curve");
  const remark = stride > 1 ? make("p", { class: "caption", text: `Every ${stride}th step.` }) : null;
  part("trend-table").querySelector(".scroll").replaceChildren(table, ...(remark ? [remark] : []));
}

// The kept step nearest to a step; null where none was kept.
function nearestKept(run, step) {
  const steps = runs[run].steps;
  return steps.length ? steps.reduce((best, each) => (Math.abs(each - step) < Math.abs(best - step) ? each : best)) : null;
}

function listenToTrend() {
  const pick = (event) => {
    const box = part("chart").getBoundingClientRect();
    openStep(nearestKept(state.run, stepUnder(event.clientX - box.left)));
  };
  part("chart").addEventListener("pointerdown", pick);
  part("chart").addEventListener("click", () => part("step").focus({ preventScroll: true }));
  part("chart").addEventListener("pointermove", (event) => event.buttons && pick(event));
  part("step").addEventListener("input", () => openStep(runs[state.run].steps[Number(part("step").value)]));
  part("step").addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault(); // else the same press would open the rollout that it goes to
    part("rows").querySelector("button")?.focus();
  });
  part("metric").addEventListener("change", () => {
    state.metric = part("metric").value;
    drawTrend();
  });
  part("run").addEventListener("change", () => {
    state.run = Number(part("run").value);
    openStep(nearestKept(state.run, state.step ?? 0));
  });
  part("trend-table").addEventListener("toggle", () => part("trend-table").open && fillTrendTable());
  new ResizeObserver(() => drawTrend()).observe(part("chart"));
}
