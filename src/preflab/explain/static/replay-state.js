// What is chosen on the page; every part of the page is drawn from it.
const state = {
  run: 0,
  metric: "",
  step: null,
  sort: "kept",
  first: null, // the open rollout
  second: null, // the one beside it
  quantity: QUANTITIES[0],
  scope: "shown",
  lambda: 1,
  numbers: false,
  side: "first", // which of the two the chosen token is in
  index: 0, // the chosen token, among those on the page
};

const part = (id) => document.getElementById(id);
const chosenRow = () => state[state.side];
const shownRows = () => [state.first, state.second].filter((row) => row !== null);

// Where a rollout comes from: ppo · step 10 · row 2.
function nameOf(row) {
  const place = row.side ? `pair ${row.pair} · ${row.side}` : `row ${row.row}`;
  return `${runs[row.run].name} · step ${row.step} · ${place}`;
}

function fillSelect(select, options) {
  select.replaceChildren(...options.map(([value, text]) => make("option", { value, text })));
}
