// Dialogues: rollouts in which an environment answered the policy. Turns alternate, the policy's first.
const SPEAKERS = ["Policy", "Environment"];
const LAST = "Environment, at the end (the policy did not read it)";
const speakerOf = (turn) => SPEAKERS[turn % 2];

// The turn that holds a token, by the token's index among those on the page; −1 in a rollout without turns.
function turnOf(row, index) {
  return row.turns ? row.turns.findLastIndex((turn) => turn.start <= placeOf(row, index)) : -1;
}

const turnReward = (turn) => (Number.isFinite(turn.reward) ? `reward ${signed(turn.reward)}` : "");

// What a turn is called: Turn 2, Environment · Turn 3, Policy, reward +1.
function turnName(row, turn) {
  const name = `Turn ${turn + 1}, ${speakerOf(turn)}`;
  return [name, turnReward(row.turns[turn])].filter(Boolean).join(", ");
}

// The box of a turn's tokens within the list; what it shows besides them is in its name.
function turnGroup(row, turn, goesOn) {
  const spoken = make("span", { class: "speaker", role: "presentation", text: `${speakerOf(turn)}${goesOn ? ", continued" : ""}` });
  return make("div", { class: `turn ${turn % 2 ? "other" : "mine"}`, role: "group", "aria-label": turnName(row, turn) }, spoken);
}

// The reward at the end of a turn of the policy.
function turnEnd(row, turn) {
  const said = turnReward(row.turns[turn]);
  return said ? make("span", { class: "earned", role: "presentation", text: said }) : null;
}

// The tokens of a dialogue in boxes, one per turn; tokens holds [index, element].
function tokensInTurns(row, tokens) {
  const boxes = [];
  let current = -1;
  for (const [index, element] of tokens) {
    const turn = index === null ? current : turnOf(row, index);
    if (turn !== current || !boxes.length) boxes.push(turnGroup(row, turn, index !== null && row.turns[turn].start < placeOf(row, index)));
    boxes.at(-1).append(element);
    current = turn;
    if (index !== null && isLastOfTurn(row, index)) boxes.at(-1).append(...[turnEnd(row, turn)].filter(Boolean));
  }
  return boxes;
}

function isLastOfTurn(row, index) {
  const next = row.turns[turnOf(row, index) + 1];
  return placeOf(row, index) + 1 === (next ? next.start : row.num);
}

// What the environment said at the end, below the tokens.
function lastTurn(row) {
  if (!row.turns || wholeText(row.lastTurn) === "") return null;
  return make("div", { class: "turn other last" }, make("p", { class: "speaker", text: LAST }), written(row.lastTurn, "text"));
}

// A whole dialogue as text.
function dialogueText(row) {
  const turns = row.turns.map((turn, index) =>
    make("li", { class: `turn ${index % 2 ? "other" : "mine"}` },
      make("p", { class: "speaker", text: speakerOf(index) }), written(turn.text, "text"),
      turnReward(turn) ? make("p", { class: "earned", text: turnReward(turn) }) : null));
  const last = lastTurn(row);
  return make("ol", { class: "dialogue" }, ...turns, last && make("li", {}, last));
}

// The start of a dialogue or of a completion, in one line.
function shortCompletion(row, most) {
  if (!row.turns) return shortText(row.completion, most);
  const last = wholeText(row.lastTurn);
  const turns = [...row.turns.map((turn, index) => `${speakerOf(index)}: ${shortText(turn.text, most) || "(empty)"}`), ...(last ? [`Environment: ${shortText(last, most)}`] : [])];
  return shortText(turns.join(" · "), most);
}

const numTurns = (row) => Math.ceil(row.turns.length / 2);
