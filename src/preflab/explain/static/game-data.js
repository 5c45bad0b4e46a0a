// The tables of the game: positions are numbers, lists about moves are flat (see game_tables.py).
const data = JSON.parse(document.getElementById("data").textContent);

// Where the moves of each position begin in the flat lists.
const offsets = [];
data.legal.reduce((total, moves) => {
  offsets.push(total);
  return total + moves.length;
}, 0);

const isOver = (position) => data.result[position] !== null;

// What a player thinks of a position: its value, and of each legal move the place it leads to, value and probability.
function thoughtsOf(snapshot, position) {
  const moves = data.legal[position].map((move, index) => {
    const at = offsets[position] + index;
    return { move, after: data.after[at], prob: snapshot.probs[at], value: snapshot.values ? snapshot.values[at] : null };
  });
  const most = Math.max(...moves.map((each) => each.prob));
  for (const each of moves) each.best = each.prob === most;
  return { moves, value: snapshot.position ? snapshot.position[position] : null };
}

// The move that a player chooses: one of its likeliest, or one drawn by probability.
function chosenMove(thoughts, draws) {
  const among = draws ? thoughts.moves : thoughts.moves.filter((each) => each.best);
  const weight = (each) => (draws ? each.prob : 1);
  let left = Math.random() * among.reduce((total, each) => total + weight(each), 0);
  for (const each of among) {
    left -= weight(each);
    if (left < 0) return each;
  }
  return among.filter((each) => weight(each) > 0).at(-1);
}
