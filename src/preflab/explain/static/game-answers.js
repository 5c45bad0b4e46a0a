// What the chosen player thinks of the game so far: by position, or, of a language model, by the moves in their order.
const reads = () => snapshot().answers !== undefined; // a language model: it reads the moves

// Like thoughtsOf. `knows`: false where the page holds no answer; `other`: the probability of words that are no legal move.
function thoughtsHere() {
  if (!reads()) return { ...thoughtsOf(snapshot(), here()), knows: true, other: 0 };
  const answer = snapshot().answers[`${state.start}:${state.played.map((each) => each.move).join(",")}`];
  const moves = data.legal[here()].map((move, index) => ({
    move,
    after: data.after[offsets[here()] + index],
    prob: answer ? answer.probs[index] : null,
    value: null,
    best: answer !== undefined && answer.best === index,
  }));
  return { moves, value: null, knows: answer !== undefined, other: answer?.other, turn: answer?.turn };
}

const canMove = (thoughts) => thoughts.moves.some((each) => each.best);

const UNKNOWN = "This player has no answer here. It reads the moves in their order, and this page holds its answers only for games in which it played its likeliest moves from the start. Begin a new game, or take back.";

function illegalSaid(thoughts) {
  if (!thoughts.turn) return "no single word with an end, which is no legal move";
  const move = data.moves.indexOf(thoughts.turn);
  const named = move < 0 || moveName(move) === thoughts.turn ? "" : ` (${moveName(move)})`;
  return `“${thoughts.turn}”${named}, which is no legal move`;
}

// Why the player does not move although it is its turn.
function stuckSaid(thoughts) {
  return thoughts.knows ? `It answers ${illegalSaid(thoughts)}. The game is over. You win.` : UNKNOWN;
}

function readerSaid(thoughts) {
  const whose = data.numPlayers === 1 ? "" : isReadersTurn(here()) ? ", asked as if it played for you" : "";
  const illegal = canMove(thoughts) ? "" : ` Its likeliest answer is ${illegalSaid(thoughts)}.`;
  return `What it answers after these moves${whose}. It has probabilities, but no values.${illegal}`;
}

function readerWorthSaid(one) {
  const trained = `This page holds the model as it is in its folder, not its learning. It plays its likeliest moves. Measured in all ${count(one.histories, "history", "histories")} that they can lead to, ${one.illegal} of which it answers with no legal move.`;
  const lost = one.exploitability.map((each) => number(each, 3));
  if (data.numPlayers === 1) return `Best possible result less that of its likeliest moves: ${lost[0]} (0: none is better). ${trained}`;
  return `Exploitability of its likeliest moves: ${lost[0]} as first player, ${lost[1]} as second (0: nobody can beat them). ${trained}`;
}
