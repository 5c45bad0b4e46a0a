// The game that is played and what is chosen on the page; every part of the page is drawn from it.
const state = {
  player: 0, // which of data.players
  learning: data.players.map((player) => player.snapshots.length - 1), // which snapshot of each
  side: 0, // which side the reader plays
  start: 0, // which of data.starts
  positions: [data.starts[0]], // every position of this game
  played: [], // every move of this game: { move, side, by }, of a language model's also prob
};

const part = (id) => document.getElementById(id);
const here = () => state.positions.at(-1);
const player = () => data.players[state.player];
const snapshot = () => player().snapshots[state.learning[state.player]];
const isReadersTurn = (position) => !isOver(position) && (data.numPlayers === 1 || data.turn[position] === state.side);

function begin(start) {
  Object.assign(state, { start, positions: [data.starts[start]], played: [] });
}

function go(move, after, by) {
  state.played.push({ move, by, side: data.turn[here()] });
  state.positions.push(after);
}

// The player's moves until it is the reader's turn, the game is over, or the player has no legal answer.
function answer() {
  while (!isOver(here()) && !isReadersTurn(here()) && letMove());
}

// Returns false if the player has no legal answer.
function letMove() {
  const thoughts = thoughtsHere();
  if (!canMove(thoughts)) return false;
  const chosen = chosenMove(thoughts, part("draws").checked && !reads());
  go(chosen.move, chosen.after, "it");
  if (reads()) state.played.at(-1).prob = chosen.prob;
  return true;
}

// How many moves to take back so that it is the reader's turn again; 0 if there is no such position.
function numToTakeBack() {
  for (let num = 1; num <= state.played.length; num += 1) {
    if (isReadersTurn(state.positions.at(-1 - num))) return num;
  }
  return 0;
}

function takeBack() {
  const num = numToTakeBack();
  state.positions.length -= num;
  state.played.length -= num;
  return num;
}
