// The position: a board of buttons, or its text with a list of moves. The focus stays where it was when it is drawn anew.
let cursor = 0; // the cell that Tab reaches

function drawPosition() {
  const thoughts = isOver(here()) ? { moves: [] } : thoughtsHere();
  const focus = part("position").contains(document.activeElement) ? document.activeElement.dataset : null;
  const board = boardAt(here());
  part("position").replaceChildren(...(board ? [boardOf(board, thoughts)] : listOf(thoughts)));
  if (focus) focusAgain(focus);
  part("back").disabled = numToTakeBack() === 0;
  part("let").disabled = !canMove(thoughts);
  part("log").replaceChildren(...state.played.map((each) => make("li", { text: `${movesSaid([each])[0].slice(0, -1)}${each.prob === undefined ? "" : `, probability ${percent(each.prob)}`}` })));
  part("played").hidden = state.played.length === 0;
}

function focusAgain(focus) {
  const same = focus.cell === undefined ? `[data-move="${Number(focus.move)}"]` : `[data-cell="${Number(focus.cell)}"]`;
  const buttons = part("position").querySelector(same) ?? part("position").querySelector("button") ?? part("new");
  buttons.focus();
}

function boardOf(rows, thoughts) {
  const columns = rows[0].length;
  const texts = rows.flat();
  cursor = Math.min(cursor, texts.length - 1);
  const group = make("div", { class: "board", role: "group", "aria-label": "Board" }, ...texts.map((text, cell) => cellOf(text, cell, columns, thoughts)));
  group.style.setProperty("--columns", columns);
  return group;
}

function cellOf(text, cell, columns, thoughts) {
  const each = thoughts.moves.find((one) => data.cellOfMove[one.move] === cell);
  const shows = each !== undefined && each.prob !== null && part("shows").checked;
  const last = state.played.length > 0 && data.cellOfMove[state.played.at(-1).move] === cell;
  const name = `${cellName(cell, columns)}: ${text || "empty"}${last ? ", the last move" : ""}${shows ? `, ${thoughtSaid(each)}` : ""}`;
  return make(
    "button",
    {
      type: "button",
      class: `cell${shows && each.best ? " best" : ""}${last ? " last" : ""}`,
      "data-cell": cell,
      "data-move": each?.move,
      "aria-label": name,
      "aria-disabled": each === undefined || !isReadersTurn(here()) ? "true" : null,
      tabindex: cell === cursor ? "0" : "-1",
    },
    text ? make("span", { class: "mark", dir: "auto", text }) : null,
    ...(shows ? thoughtLines(each) : []),
  );
}

function thoughtLines(each) {
  const first = each.value === null ? [] : [make("span", { class: "thought", text: valueSaid(each.value) })];
  return [...first, make("span", { class: "thought", text: `${each.best ? "★ " : ""}${percent(each.prob)}` })];
}

// The text of the position, and one button for each legal move.
function listOf(thoughts) {
  const text = make("pre", { class: "shown-text", dir: "auto", tabindex: "0", role: "region", "aria-label": "Position", text: data.texts[here()] });
  const buttons = thoughts.moves.map((each) => {
    const shows = each.prob !== null && part("shows").checked;
    const name = data.moves[each.move];
    return make(
      "li",
      {},
      make(
        "button",
        {
          type: "button",
          class: shows && each.best ? "best" : "",
          "data-move": each.move,
          "aria-label": shows ? `${name}, ${thoughtSaid(each)}` : name,
          "aria-disabled": isReadersTurn(here()) ? null : "true",
        },
        make("span", { class: "mark", dir: "auto", text: name }),
        ...(shows ? thoughtLines(each) : []),
      ),
    );
  });
  return buttons.length ? [text, make("ul", { class: "moves", "aria-label": "Moves" }, ...buttons)] : [text];
}

function listenToPosition(play) {
  part("position").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.dataset.cell !== undefined) cursor = Number(button.dataset.cell);
    if (button.getAttribute("aria-disabled") !== "true") play(Number(button.dataset.move));
    else say(!isReadersTurn(here()) ? turnSaid() : `No move there: ${button.getAttribute("aria-label")}.`);
  });
  part("position").addEventListener("keydown", (event) => {
    const board = boardAt(here());
    if (!board || event.target.dataset.cell === undefined) return;
    const columns = board[0].length;
    const at = Number(event.target.dataset.cell);
    const column = at % columns;
    const to = {
      ArrowLeft: column > 0 ? at - 1 : at,
      ArrowRight: column < columns - 1 ? at + 1 : at,
      ArrowUp: at - columns,
      ArrowDown: at + columns,
      Home: at - column,
      End: at - column + columns - 1,
    }[event.key];
    const cell = part("position").querySelector(`[data-cell="${to}"]`);
    if (to === undefined) return;
    event.preventDefault();
    if (!cell) return;
    part("position").querySelector(`[data-cell="${cursor}"]`)?.setAttribute("tabindex", "-1");
    cursor = to;
    cell.setAttribute("tabindex", "0");
    cell.focus();
  });
}
