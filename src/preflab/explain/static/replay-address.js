// The chosen place in the page's address, so that a link leads to a token: #run=ppo&step=10&row=2&token=5&by=kl
let waiting = null;

// Written a moment after the last choice: browsers refuse many changes of the address in a short time.
function noteAddress() {
  clearTimeout(waiting);
  waiting = setTimeout(() => {
    const row = state.first;
    if (!row) return;
    const token = state.side === "first" && row.num ? placeOf(row, state.index) + 1 : 1;
    const place = { run: runs[row.run].name, step: row.step, row: row.row, token, by: state.quantity.name };
    history.replaceState(null, "", `#${new URLSearchParams(place)}`);
  }, 300);
}

// Opens the place that the address names; false if it names none that is on this page.
function openAddress() {
  const place = new URLSearchParams(location.hash.slice(1));
  const run = Math.max(0, runs.findIndex((each) => each.name === place.get("run")));
  if (!place.has("step") || !runs[run].steps.length) return false;
  Object.assign(state, { run, quantity: quantityCalled(place.get("by")) ?? state.quantity });
  part("run").value = String(run);
  openStep(nearestKept(run, Number(place.get("step")) || 0));
  const row = rowsOfStep(runs[run], state.step).find((each) => String(each.row) === place.get("row") && each.side !== "rejected");
  if (row) openRollout(row);
  const index = state.first.tokens.findIndex((_, at) => String(placeOf(state.first, at) + 1) === place.get("token"));
  if (index > 0) chooseToken("first", index, false);
  return true;
}
