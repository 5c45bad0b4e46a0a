// Puts the page together: what opens first, and what follows from a choice.
function openStep(step) {
  state.step = step;
  drawTrend();
  drawRows();
  const rows = step === null ? [] : sortedRows(runs[state.run], step, state.sort);
  // The same prompt as before, if this step has it; else the first rollout.
  const again = rows.find((row) => state.first && row.promptId !== null && row.promptId === state.first.promptId);
  if (rows.length) openRollout(again ?? rows[0]);
  else {
    Object.assign(state, { first: null, second: null });
    drawShown();
  }
}

function openRollout(row) {
  Object.assign(state, { first: row, second: partnerOf(row), side: "first", index: 0 });
  drawShown();
  markRow();
  if (state.metric === MARGINS) drawTrend();
}

const runSaid = (run) => {
  const name = run.name === run.kind ? run.name : `${run.name} (${run.kind})`;
  return `${name}: ${count(run.metrics.steps.length, "step")}, ${run.steps.length.toLocaleString("en")} of them with kept ${run.rows.some((row) => row.side) ? "pairs" : "rollouts"}`;
};

function drawOnce() {
  part("subtitle").textContent = runs.map(runSaid).join("; ");
  fillSelect(part("run"), runs.map((run, index) => [String(index), run.name]));
  part("run-field").hidden = runs.length < 2;
  fillSelect(part("metric"), metricOptions());
  fillSelect(part("sort"), Object.entries(ORDERS).map(([name, [text]]) => [name, text]));
  const said = runs.flatMap((run) => [...run.leftOut, ...(run.steps.length ? [] : [run.note])].map((text) => (runs.length > 1 ? `${run.name}: ${text}` : text)));
  part("left-out").replaceChildren(...said.filter(Boolean).map((text) => make("p", { class: "note", text })));
  part("quantities-said").replaceChildren(...QUANTITIES.flatMap((each) => [make("dt", { text: withUnit(each, each.label + (each.unit ? "," : "")) }), make("dd", { text: each.help })]));
  part("selected").append(
    make("p", { id: "selected-said", role: "status" }),
    make("dl", { id: "selected-numbers" }),
    make("div", { id: "alternatives" }),
  );
}

state.metric = metricOptions()[0]?.[0] ?? "";
state.lambda = runs[0].settings.lam ?? 1;
part("lambda").value = String(state.lambda);
drawOnce();
drawAlarms();
listenToTrend();
listenToRows();
listenToRollout();
if (!openAddress()) openStep(runs[0].steps.at(-1) ?? null);
addEventListener("hashchange", openAddress);
