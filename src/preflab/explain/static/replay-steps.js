// The kept rollouts of the chosen step: one button each, in the chosen order.
const worth = (row) => row.margin ?? row.reward ?? NaN;
// The KL of the whole completion; not known where a part of its tokens is not on the page.
const klOf = (row) => (numbersOf(row, "kl") && !row.gap ? sum(numbersOf(row, "kl")) : NaN);
const ORDERS = {
  kept: ["as kept", (row) => row.row],
  highest: ["highest reward first", (row) => -worth(row)],
  lowest: ["lowest reward first", worth],
  longest: ["longest first", (row) => -numWritten(row)],
  shortest: ["shortest first", numWritten],
  most_kl: ["largest KL first", (row) => -klOf(row)],
};

function sortedRows(run, step, sort) {
  const rows = rowsOfStep(run, step).filter((row) => row.side !== "rejected");
  const key = ORDERS[sort][1];
  return rows.sort((one, other) => (key(one) || 0) - (key(other) || 0) || one.row - other.row);
}

function drawRows() {
  const run = runs[state.run];
  const rows = state.step === null ? [] : sortedRows(run, state.step, state.sort);
  const what = rows.some((row) => row.side) ? "Pairs" : "Rollouts";
  part("rollouts-title").textContent = state.step === null ? what : `${what} of step ${state.step}`;
  part("rollouts-said").textContent = rowsSaid(run, rows);
  part("rows").replaceChildren(...rows.map((row) => make("li", {}, rowButton(row))));
  markRow();
}

function rowsSaid(run, rows) {
  if (!rows.length) return run.note;
  const all = run.settings.num_completions_per_step;
  if (rows[0].side) return `${count(rows.length, "kept pair")}, the same ones at every step.`;
  return `${count(rows.length, "kept rollout")}${all ? ` of the step's ${all.toLocaleString("en")}` : ""}.`;
}

function rowButton(row) {
  const button = make(
    "button",
    { type: "button", class: "row" },
    make("span", { class: "worth", text: `${row.side ? "margin" : "reward"} ${signed(worth(row))}` }),
    make("span", { class: "facts", text: rowFacts(row) }),
    make("span", { class: "prompt", dir: "auto", text: shortText(row.prompt, 120) }),
    make("span", { class: "text", dir: "auto", text: shortCompletion(row, 220) || "(empty)" }),
  );
  button.row = row;
  return button;
}

function rowFacts(row) {
  const kl = klOf(row);
  const cut = row.turns ? "cut by a limit" : "cut by the length limit";
  const facts = [row.turns ? count(numTurns(row), "turn") : "", count(numWritten(row), "token"), Number.isFinite(kl) ? `KL ${number(kl, 3)}` : "", row.finish === "length" ? cut : "", timesKept(row)];
  return facts.filter(Boolean).join(" · ");
}

// A prompt that was kept elsewhere too: its completions can be compared.
function timesKept(row) {
  if (row.side || row.promptId === null) return "";
  const times = runs.flatMap((run) => run.rows).filter((each) => each.promptId === row.promptId).length;
  return times > 1 ? `prompt kept ${times} times` : "";
}

function markRow() {
  for (const button of part("rows").querySelectorAll("button")) {
    const open = shownRows().includes(button.row);
    button.setAttribute("aria-pressed", String(open));
  }
}

function listenToRows() {
  const buttons = () => [...part("rows").querySelectorAll("button")];
  part("rows").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    openRollout(button.row);
    if (event.detail === 0) focusToken(); // by the keyboard
  });
  part("rows").addEventListener("keydown", (event) => {
    const at = buttons().indexOf(document.activeElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: buttons().length - 1 }[event.key];
    if (event.key === "Escape") part("step").focus();
    if (to === undefined || at < 0) return;
    event.preventDefault();
    buttons()[to]?.focus();
  });
  part("sort").addEventListener("change", () => {
    state.sort = part("sort").value;
    drawRows();
  });
}
