// What the player thinks of the position as a table, and what its learning has come to.
function drawThoughts() {
  const shows = part("shows").checked;
  const thoughts = isOver(here()) ? null : thoughtsHere();
  if (!shows) part("thought").replaceChildren();
  else if (thoughts === null) part("thought").replaceChildren(make("p", { class: "quiet", text: "The game is over: there is nothing to choose." }));
  else if (!thoughts.knows) part("thought").replaceChildren(make("p", { text: UNKNOWN }));
  else part("thought").replaceChildren(make("p", { text: positionSaid(thoughts) }), thoughtTable(thoughts));
}

function positionSaid(thoughts) {
  if (reads()) return readerSaid(thoughts);
  const whose = data.numPlayers === 1 ? "" : isReadersTurn(here()) ? " for you, whose turn it is" : " for it, whose turn it is";
  return thoughts.value === null ? "This player has probabilities, but no values." : `Value of the position: ${valueSaid(thoughts.value)}${whose}.`;
}

function thoughtTable(thoughts) {
  const hasValues = thoughts.moves.some((each) => each.value !== null);
  const headings = ["move", ...(hasValues ? ["value"] : []), "probability", "best"];
  const rows = [...thoughts.moves]
    .sort((one, other) => other.prob - one.prob || (other.value ?? 0) - (one.value ?? 0))
    .map((each) => [moveName(each.move), ...(hasValues ? [valueSaid(each.value)] : []), percent(each.prob), each.best ? "★ best" : ""]);
  if (reads()) rows.push(["no legal move", percent(thoughts.other), canMove(thoughts) ? "" : "★ best"]);
  const table = tableOf(headings, rows, "What it thinks of each move");
  [...table.tBodies[0].rows].forEach((row) => row.classList.toggle("best", row.lastChild.textContent !== ""));
  return table;
}

function drawLearning() {
  const { snapshots } = player();
  const one = snapshot();
  const slider = part("learning");
  slider.max = String(snapshots.length - 1);
  slider.value = String(state.learning[state.player]);
  slider.setAttribute("aria-valuetext", learningSaid(one));
  slider.disabled = snapshots.length === 1;
  part("replay").hidden = snapshots.length === 1;
  part("draws").disabled = reads();
  part("learning-said").textContent = learningSaid(one);
  part("worth").textContent = worthSaid(one);
  if (reads()) return part("numbers").replaceChildren(make("p", { text: "This page holds the model as it is in its folder. preflab game language writes the measures of its learning to curve.jsonl." }));
  const columns = data.numPlayers === 2 ? ["first", "second"] : ["result", "best"];
  const headings = data.numPlayers === 2 ? ["games", "exploitability as first", "as second"] : ["games", "result", "best possible"];
  const rows = snapshots.map((each) => [each.games.toLocaleString("en"), ...columns.map((name) => number(each[name], 3))]);
  part("numbers").replaceChildren(tableOf(headings, rows, `Learning of ${player().name}`));
}
