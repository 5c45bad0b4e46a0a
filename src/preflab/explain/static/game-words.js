// What the page says: moves, results, what a player is worth.
const boardAt = (position) => (data.boards ? data.boards[position] : null);

function cellName(cell, columns) {
  return `row ${Math.floor(cell / columns) + 1}, column ${(cell % columns) + 1}`;
}

function moveName(move) {
  const board = boardAt(data.starts[0]);
  return board ? cellName(data.cellOfMove[move], board[0].length) : data.moves[move];
}

const percent = (prob) => `${prob > 0 && prob < 0.01 ? "<1" : Math.round(100 * prob)}\u00a0%`;

// A value to about a hundredth of the player's largest, so that values below one another end at one place.
function valueSaid(value) {
  const text = value.toFixed(Math.max(0, 2 - Math.round(Math.log10(snapshot().values.most))));
  const rounded = Number(text);
  return Number.isInteger(rounded) ? signed(rounded, 6) : `${rounded > 0 ? "+" : ""}${text.replace("-", "−")}`;
}

// "value +1, 33 %": the same words beside a move and in its name.
function thoughtSaid(each) {
  const value = each.value === null ? "" : `value ${valueSaid(each.value)}, `;
  return `${value}probability ${percent(each.prob)}${each.best ? ", its best" : ""}`;
}

const whoPlayed = (each) => (each.by === "you" ? "You" : data.numPlayers === 2 && each.side === state.side ? "It played for you:" : "It");

function movesSaid(moves) {
  return moves.map((each) => {
    const who = whoPlayed(each);
    return who.endsWith(":") ? `${who} ${moveName(each.move)}.` : `${who} played ${moveName(each.move)}.`;
  });
}

function turnSaid() {
  const result = data.result[here()];
  if (result === null && !isReadersTurn(here())) return stuckSaid(thoughtsHere());
  if (result === null) return data.numPlayers === 1 ? "Your move." : "Your turn.";
  if (data.numPlayers === 1) return `The game is over. Result ${signed(result)}.`;
  const yours = state.side === 0 ? result : -result;
  const how = yours > 0 ? "You win" : yours < 0 ? "It wins" : "A draw";
  return `The game is over. ${how}${Math.abs(yours) === 1 || yours === 0 ? "" : `, result ${signed(yours)} for you`}.`;
}

const say = (...sentences) => {
  part("said").textContent = sentences.filter(Boolean).join(" ");
};

function learningSaid(one) {
  if (reads()) return "the model in its folder";
  return player().kind === "exact" ? "computed, not learned" : `after ${count(one.games, "game")}`;
}

function worthSaid(one) {
  if (reads()) return readerWorthSaid(one);
  if (data.numPlayers === 2) {
    const against = player().kind === "exact" ? "It is computed by minimax" : "It learns against itself";
    return `Exploitability of its likeliest moves: ${number(one.first, 3)} as first player, ${number(one.second, 3)} as second (0: nobody can beat them). ${against}; exploitability is measured against the best reply.`;
  }
  const how = player().kind === "exact" ? " It is computed by value iteration." : "";
  return `Result of its likeliest moves from the first position: ${number(one.result, 3)}; the best possible is ${number(one.best, 3)}.${how}`;
}
