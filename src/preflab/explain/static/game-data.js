// The tables of the game: positions are numbers, lists about moves are flat (see game_tables.py).
const data = JSON.parse(document.getElementById("data").textContent);

// Where the moves of each position begin in the flat lists.
const offsets = [];
data.legal.reduce((total, moves) => {
  offsets.push(total);
  return total + moves.length;
}, 0);

const isOver = (position) => data.result[position] !== null;

// A list of numbers as packed_numbers.py stores it; it is unpacked when it is first read.
const unpacked = new Map();
function numbersOf(packed) {
  if (packed === null) return null;
  if (!unpacked.has(packed)) {
    const bytes = Uint8Array.from(atob(packed.int16), (letter) => letter.charCodeAt(0));
    const view = new DataView(bytes.buffer);
    unpacked.set(packed, Float64Array.from({ length: bytes.length / 2 }, (_, at) => (view.getInt16(2 * at, true) / 32767) * packed.most));
  }
  return unpacked.get(packed);
}

// What a player thinks of a position: its value, and of each legal move the place it leads to, value and probability.
function thoughtsOf(snapshot, position) {
  const [probs, values, worth] = [snapshot.probs, snapshot.values, snapshot.position].map(numbersOf);
  const moves = data.legal[position].map((move, index) => {
    const at = offsets[position] + index;
    return { move, after: data.after[at], prob: probs[at], value: values ? values[at] : null };
  });
  const most = Math.max(...moves.map((each) => each.prob));
  for (const each of moves) each.best = each.prob === most;
  return { moves, value: worth ? worth[position] : null };
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
