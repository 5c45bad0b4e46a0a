// The open rollout, and one beside it: prompt, completion, reward with its terms, identity, tokens.
let strips = [];

function drawShown() {
  strips = [];
  const articles = shownRows().map((row, place) => rolloutArticle(row, place ? "second" : "first"));
  part("shown").replaceChildren(...articles);
  part("shown").classList.toggle("two", articles.length > 1);
  part("tokens").hidden = !articles.length;
  if (!articles.length) return;
  fillQuantities();
  fillOthers();
  for (const strip of strips) fillStrip(strip);
  repaint();
  drawSelected();
}

function rolloutArticle(row, side) {
  const strip = tokenStrip(row, side);
  strips.push(strip);
  const table = make("details", { class: "all" }, make("summary", { text: "All numbers of these tokens as a table" }), make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Numbers of ${nameOf(row)}` }));
  table.addEventListener("toggle", () => fillTable(table, strip));
  strip.table = table;
  return make(
    "article",
    { "aria-label": nameOf(row) },
    make("h3", { text: nameOf(row) }),
    make("p", { class: "facts", text: rewardSaid(row) }),
    row.details.length ? make("p", { class: "facts", text: `Beside the sum: ${valuesSaid(row.details)}` }) : null,
    make("h4", { text: "Prompt" }),
    written(row.prompt, "prompt"),
    make("h4", { text: "Tokens" }),
    strip.list,
    strip.pager,
    lastTurn(row),
    make("details", {}, make("summary", { text: row.turns ? "Dialogue as text" : "Completion as text" }), row.turns ? dialogueText(row) : written(row.completion, "text")),
    table,
    make("p", { class: "facts identity" }, ...identity(row)),
  );
}

function fillTable(table, strip) {
  if (table.open) table.querySelector(".scroll").replaceChildren(tokenTable(strip));
}

const valuesSaid = (values) => values.map(([name, value]) => `${name} ${number(value)}`).join(", ");

// reward 1.1 (rm 0.9, brief 0.2) · 19 tokens · KL 0.5 nats · ended by itself
function rewardSaid(row) {
  const terms = valuesSaid(row.terms);
  const end = endSaid(row);
  const score = runs[row.run].kind === "dpo" ? "implicit reward" : "score";
  const reward = row.side ? `${score} ${number(row.reward)}, margin of the pair ${signed(row.margin)}` : `reward ${number(row.reward)}${terms ? ` (${terms})` : ""}`;
  const kl = klOf(row);
  const ratios = quantityCalled("logratio").of(row);
  const ratio = ratios && !row.gap ? `log-ratio to the reference ${signed(sum(ratios))} nats` : "";
  const length = row.turns ? `${count(numTurns(row), "turn")} of the policy · ${numWritten(row).toLocaleString("en")} of ${count(row.num, "token")}` : count(row.num, "token");
  return [reward, length, Number.isFinite(kl) ? `KL ${number(kl)} nats` : "", ratio, end].filter(Boolean).join(" · ");
}

function endSaid(row) {
  if (row.turns) return { stop: "ended by the environment", length: "cut by a limit of tokens or turns" }[row.finish] ?? "";
  return { stop: "ended by itself", length: "cut by the length limit" }[row.finish] ?? "";
}

// The names of the records, so that prompt and completion can be found in the workspace.
function identity(row) {
  const parts = [["prompt", row.promptId], ["completion", row.completionId], ["seed", row.seed], ["run", runs[row.run].folder]];
  return parts.filter(([, id]) => id).flatMap(([name, id]) => [`${name} `, make("code", { text: id }), " "]);
}

function fillQuantities() {
  const possible = QUANTITIES.filter((quantity) => shownRows().some((row) => has(row, quantity)));
  part("colouring").hidden = !possible.length; // a reward model has no numbers per token
  if (!possible.includes(state.quantity)) state.quantity = possible[0] ?? QUANTITIES[0];
  fillSelect(part("quantity"), possible.map((quantity) => [quantity.name, quantity.label]));
  part("quantity").value = state.quantity.name;
}

// Rollouts that the open one can be compared with: of the same prompt, and of the same step.
function fillOthers() {
  const open = state.first;
  const all = runs.flatMap((run) => run.rows).filter((row) => row !== open);
  const same = all.filter((row) => row.promptId !== null && row.promptId === open.promptId);
  const beside = all.filter((row) => row.step === open.step && !same.includes(row));
  const option = (row) => make("option", { value: all.indexOf(row), text: `${nameOf(row)} · ${number(worth(row), 3)}` });
  const group = (label, rows) => (rows.length ? make("optgroup", { label }, ...rows.map(option)) : null);
  part("other").replaceChildren(make("option", { value: "", text: "nothing" }), ...[group("The same prompt", same), group("The same step", beside)].filter(Boolean));
  part("other").value = state.second ? String(all.indexOf(state.second)) : "";
  part("other").disabled = !same.length && !beside.length;
  part("other").rows = all;
}

// Colours, legend and explanation for the chosen quantity.
function repaint() {
  const rows = state.scope === "page" ? runs.flatMap((run) => run.rows) : shownRows();
  const largest = largestDistance(state.quantity, rows, state.lambda);
  for (const strip of strips) {
    paintStrip(strip, largest);
    markToken(strip);
    fillTable(strip.table, strip);
  }
  part("legend").replaceChildren(legend(state.quantity, largest));
  fillFarthest();
  part("quantity-said").textContent = state.quantity.help;
  part("lambda-field").hidden = !state.quantity.slides;
  part("lambda-said").textContent = `${state.lambda.toFixed(2)}, γ = ${number(gammaOf(state.first))}`;
}

// The tokens of the open rollout's step that lie farthest from the neutral value.
function fillFarthest() {
  if (!part("farthest").open || !state.first) return;
  const { run, step } = state.first;
  const tokens = farthestTokens(state.quantity, rowsOfStep(runs[run], step), "farthest");
  part("farthest").querySelector("ol").replaceChildren(...tokens.map((token) => make("li", {}, tokenButton(token, state.quantity))));
}

// Choose a token, and move the window to it; `focused` moves the keyboard's focus there too.
function chooseToken(side, index, focused) {
  Object.assign(state, { side, index });
  const strip = strips.find((each) => each.side === side);
  const start = Math.floor(index / WINDOW) * WINDOW;
  if (start !== strip.start) {
    strip.start = start;
    fillStrip(strip);
    repaint();
  }
  for (const each of strips) markToken(each);
  part("shown").parentElement.classList.add("picked"); // from now on its numbers stay in sight
  drawSelected();
  if (focused) focusToken();
}

function focusToken() {
  const token = part("shown").querySelector("[role=option][tabindex='0']");
  const chosen = part("shown").querySelector("[aria-selected=true]") ?? token;
  chosen?.focus({ preventScroll: true });
  chosen?.scrollIntoView({ block: "nearest" });
}

function listenToRollout() {
  part("quantity").addEventListener("change", () => {
    state.quantity = quantityCalled(part("quantity").value);
    repaint();
    drawSelected();
  });
  part("farthest").addEventListener("toggle", fillFarthest);
  part("scope").addEventListener("change", () => {
    state.scope = part("scope").value;
    repaint();
  });
  part("lambda").addEventListener("input", () => {
    state.lambda = Number(part("lambda").value);
    repaint();
    drawSelected();
  });
  part("numbers").addEventListener("change", () => {
    state.numbers = part("numbers").checked;
    repaint();
  });
  part("other").addEventListener("change", () => {
    state.second = part("other").value === "" ? null : part("other").rows[Number(part("other").value)];
    Object.assign(state, { side: "first", index: 0 });
    drawShown();
    markRow();
  });
}
