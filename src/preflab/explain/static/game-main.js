// Puts the page together: what opens first, and what follows from a choice.
function drawAll() {
  drawLearning();
  drawPosition();
  drawThoughts();
}

// Says what was played since `before` moves, and draws.
function shown(before, ...first) {
  say(...first, ...movesSaid(state.played.slice(before)), turnSaid());
  drawPosition();
  drawThoughts();
}

function playMove(move) {
  const before = state.played.length;
  const chosen = thoughtsHere().moves.find((each) => each.move === move);
  go(chosen.move, chosen.after, "you");
  answer();
  shown(before);
}

function newGame(start) {
  begin(start);
  answer();
  shown(0, data.numPlayers === 1 ? "New game." : `New game. You play ${state.side === 0 ? "first" : "second"}.`);
}

let replaying = null; // the timer of a replay

function stopReplay() {
  clearInterval(replaying);
  replaying = null;
  part("replay").textContent = "Replay its learning";
}

function showMoment(moment) {
  state.learning[state.player] = moment;
  drawAll();
}

// From before the first game to the end, one moment each second; pressed again, it stops.
function replay() {
  if (replaying !== null) return stopReplay();
  showMoment(0);
  part("replay").textContent = "Stop";
  replaying = setInterval(() => {
    showMoment(state.learning[state.player] + 1);
    if (state.learning[state.player] === player().snapshots.length - 1) stopReplay();
  }, 1000);
}

function listen() {
  listenToPosition(playMove);
  part("new").addEventListener("click", () => newGame((state.start + 1) % data.starts.length));
  part("back").addEventListener("click", () => {
    const num = takeBack();
    shown(state.played.length, `Took back ${count(num, "move")}.`);
    if (part("back").disabled) part("new").focus();
  });
  part("let").addEventListener("click", () => {
    const before = state.played.length;
    letMove();
    answer();
    shown(before);
    if (part("let").disabled) part("new").focus();
  });
  part("replay").addEventListener("click", replay);
  part("player").addEventListener("change", () => {
    stopReplay();
    state.player = Number(part("player").value);
    drawLearning();
    const before = state.played.length;
    answer(); // where the last player had none, this one may have an answer
    shown(before);
  });
  part("side").addEventListener("change", () => {
    state.side = Number(part("side").value);
    newGame(state.start);
  });
  part("learning").addEventListener("input", () => {
    stopReplay();
    showMoment(Number(part("learning").value));
  });
  part("shows").addEventListener("change", drawAll);
}

part("player").append(...data.players.map((each, index) => make("option", { value: index, text: each.name })));
part("player-label").textContent = data.numPlayers === 2 ? "Play against" : "Player";
part("side-field").hidden = data.numPlayers === 1;
part("subtitle").textContent = `${count(data.legal.length, "position")}. Choose a player and a moment of its learning, play, and see what it thinks of every move.`;
listen();
drawLearning();
newGame(0);
