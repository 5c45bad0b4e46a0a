// The alarms of the runs, each with a way to the tokens or rollouts that raised it.
const MOST_LISTED = 10;

function drawAlarms() {
  let place = 0;
  const items = runs.flatMap((run, index) => run.alarms.map((alarm) => alarmItem(alarm, index, (alarm.mark = String(++place)))));
  part("alarms").replaceChildren(...(items.length ? [make("h3", { text: items.length === 1 ? "One alarm fired" : `${items.length} alarms fired` }), make("ul", { class: "alarms" }, ...items)] : []));
}

function alarmItem(alarm, run, mark) {
  const where = `${mark}. ${runs.length > 1 ? `${runs[run].name}, ` : ""}step ${alarm.step}: ${alarm.alarm}`;
  const found = make("div", { class: "found" });
  const button = make("button", { type: "button", text: alarm.quantity ? "Show the tokens" : "Show the rollouts" });
  button.addEventListener("click", () => followAlarm(alarm, run, found));
  button.disabled = !runs[run].steps.length;
  return make("li", { class: "note alarm" }, make("h3", { text: where }), make("p", { text: `${alarm.message.slice(0, 1).toUpperCase()}${alarm.message.slice(1)}. To change: ${alarm.setting}.` }), button, found);
}

// Open the alarm's step, ordered as the alarm asks, and list the tokens that lie farthest out.
function followAlarm(alarm, run, found) {
  const step = nearestKept(run, alarm.step);
  Object.assign(state, { run, sort: alarm.sort });
  part("sort").value = alarm.sort;
  part("run").value = String(run);
  const quantity = alarm.quantity ? quantityCalled(alarm.quantity) : null;
  openStep(step);
  const rows = sortedRows(runs[run], step, alarm.sort);
  const tokens = quantity ? farthestTokens(quantity, rowsOfStep(runs[run], step), alarm.order) : [];
  const elsewhere = step === alarm.step ? "" : ` Step ${alarm.step} is not on this page; step ${step} is the nearest.`;
  const kept = `The alarm is about the whole step; shown ${rows.length === 1 ? "is the 1 rollout" : `are the ${rows.length} rollouts`} on this page.`;
  const missing = quantity && !tokens.length ? " The record has no such number for these tokens." : "";
  found.replaceChildren(
    make("p", { class: "quiet", role: "status", text: `${alarm.shows} ${kept}${elsewhere}${missing}` }),
    make("ol", { class: "found-tokens" }, ...tokens.map((token) => make("li", {}, tokenButton(token, quantity)))),
  );
  if (tokens.length) openToken(tokens[0], quantity);
  else if (rows.length) openRollout(rows[0]);
}

function farthestTokens(quantity, rows, order) {
  const key = { largest: (far) => far, smallest: (far) => -far, farthest: Math.abs }[order];
  const tokens = [];
  for (const row of rows) {
    (quantity.of(row, state.lambda) ?? []).forEach((value, index) => {
      const far = key(distance(quantity, value));
      if (Number.isFinite(far) && !(quantity.name === "repeat" && value === 0)) tokens.push({ row, index, value, far });
    });
  }
  return tokens.sort((one, other) => other.far - one.far).slice(0, MOST_LISTED);
}

function tokenButton(token, quantity) {
  const place = placeOf(token.row, token.index) + 1;
  const button = make("button", { type: "button", class: "link" }, make("bdi", { text: `“${visibleToken(token.row, token.index).slice(0, 40)}”` }), ` ${quantity.label} ${withUnit(quantity, number(token.value))}, row ${token.row.row}, token ${place}`);
  button.addEventListener("click", () => {
    openToken(token, quantity);
    focusToken();
  });
  return button;
}

function openToken(token, quantity) {
  state.quantity = quantity;
  openRollout(token.row.side === "rejected" ? partnerOf(token.row) : token.row);
  chooseToken(token.row.side === "rejected" ? "second" : "first", token.index, false);
}
