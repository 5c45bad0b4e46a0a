// The numbers of the chosen token: the trainer's beside the sampler's, every other quantity, and its alternatives.
function drawSelected() {
  noteAddress();
  const row = chosenRow();
  const panel = part("selected");
  panel.hidden = !row || !row.tokens.length || part("colouring").hidden;
  if (panel.hidden) return;
  const quantity = state.quantity;
  const values = quantity.of(row, state.lambda);
  const token = visibleToken(row, state.index);
  const place = `token ${(placeOf(row, state.index) + 1).toLocaleString("en")} of ${row.num.toLocaleString("en")}`;
  const id = row.ids === null ? "" : ` (id ${row.ids[state.index]})`;
  const own = !row.skipped.has(state.index);
  const number6 = withUnit(quantity, values ? number(values[state.index], 6) : "not recorded");
  const text = own ? `${quantity.label} ${number6}` : "not written by the policy, so it has no numbers";
  const turn = row.turns ? `, ${turnName(row, turnOf(row, state.index))}` : "";
  part("selected-said").replaceChildren(
    make("bdi", { class: "which", text: `“${token.length > 80 ? `${token.slice(0, 80)}…` : token}”` }),
    `${id}, ${place}${shownRows().length > 1 ? ` of ${nameOf(row)}` : ""}${turn}: ${text}`,
  );
  part("selected-numbers").replaceChildren(...(own ? tokenNumbers(row, state.index) : []));
  part("alternatives").replaceChildren(...(own ? alternatives(row, state.index) : []));
}

// Sampler and trainer first, side by side with their difference; then every quantity that the record has.
function tokenNumbers(row, index) {
  const figure = (name, label, value) => make("div", { "data-figure": name }, make("dt", { text: label }), make("dd", { text: value }));
  const sampler = numbersOf(row, "sampler_logps");
  const figures = [];
  if (sampler) {
    const [first, second] = [sampler[index], policyLogps(row)[index]];
    figures.push(figure("sampler", "log p, sampler", number(first, 6)), figure("trainer", "log p, trainer", number(second, 6)), figure("difference", "difference", signed(first - second, 3)));
  } else if (policyLogps(row)) figures.push(figure("trainer", "log p, policy", number(policyLogps(row)[index], 6)));
  const reference = numbersOf(row, "ref_logps");
  if (reference) figures.push(figure("reference", "log p, reference", number(reference[index], 6)));
  for (const quantity of QUANTITIES) {
    if (["logps", "mismatch"].includes(quantity.name) || !has(row, quantity)) continue;
    const name = quantity.slides ? `${quantity.label}, λ ${number(state.lambda, 3)}` : quantity.label;
    figures.push(figure(quantity.name, name, withUnit(quantity, number(quantity.of(row, state.lambda)[index], 6))));
  }
  return figures;
}

function alternatives(row, index) {
  if (!row.top) return row.side ? [] : [make("p", { class: "quiet", text: "No alternatives were kept (num_kept_alternatives)." })];
  const texts = row.top.tokens[index] ?? [];
  const rows = texts.map((text, place) => {
    const logp = row.top.logps[index][place];
    const own = row.ids && row.top.ids[index][place] === row.ids[index] ? " (written)" : "";
    return [`${visibleToken({ tokens: [text], ids: null }, 0)}${own}`, number(Math.exp(logp), 3), number(logp, 4)];
  });
  return [make("div", { class: "scroll" }, tableOf(["alternative", "probability", "log p"], rows, "Alternatives of the chosen token"))];
}

// Every number of the shown tokens of a rollout as a table.
function tokenTable(strip) {
  const { row, start } = strip;
  const columns = [
    ["sampler", numbersOf(row, "sampler_logps")],
    ["trainer", policyLogps(row)],
    ["reference", numbersOf(row, "ref_logps")],
    ...QUANTITIES.filter((each) => each.name !== "logps" && has(row, each)).map((each) => [each.label, each.of(row, state.lambda)]),
  ].filter(([, values]) => values);
  const rows = [];
  for (let index = start; index < Math.min(start + WINDOW, row.tokens.length); index++) {
    rows.push([String(placeOf(row, index) + 1), visibleToken(row, index).slice(0, 60), ...columns.map(([, values]) => number(values[index], 6))]);
  }
  return tableOf(["token", "text", ...columns.map(([label]) => label)], rows, `Numbers of the tokens of ${nameOf(row)}`);
}
