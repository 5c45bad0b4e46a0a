// The tokens of one rollout as a list that can be walked through, coloured by the chosen quantity.
const WINDOW = 400;

// Elements of one rollout's tokens: the list, and what moves its window where the rollout is longer than that.
function tokenStrip(row, side) {
  const list = make("div", { class: "strip", role: "listbox", "aria-orientation": "horizontal", "aria-label": `Tokens of ${nameOf(row)}` });
  const strip = { row, side, list, pager: make("div", { class: "pager" }), start: 0 };
  list.addEventListener("click", (event) => {
    const token = event.target.closest("[role=option]");
    if (token) chooseToken(side, Number(token.dataset.index), true);
  });
  list.addEventListener("keydown", (event) => walkTokens(event, strip));
  return strip;
}

function walkTokens(event, strip) {
  const last = strip.row.tokens.length - 1;
  const to = { ArrowRight: state.index + 1, ArrowLeft: state.index - 1, ArrowDown: state.index + 1, ArrowUp: state.index - 1, Home: 0, End: last }[event.key];
  if (event.key === "Escape") (part("rows").querySelector("[aria-pressed=true]") ?? part("step")).focus();
  if (to === undefined) return;
  event.preventDefault();
  if (to >= 0 && to <= last) chooseToken(strip.side, to, true);
}

// Fill the list with the window of tokens that holds the chosen one.
function fillStrip(strip) {
  const { row, list } = strip;
  const end = Math.min(strip.start + WINDOW, row.tokens.length);
  const tokens = [];
  for (let index = strip.start; index < end; index++) {
    if (row.gap && index === row.head) {
      tokens.push([null, make("span", { class: "missing", role: "presentation", text: `[… ${count(row.gap, "token")} not on this page …]` })]);
    }
    tokens.push([index, tokenElement(row, index)]);
  }
  if (!row.tokens.length) tokens.push([null, make("span", { class: "nothing", role: "option", "aria-selected": "false", tabindex: "0", text: "(no tokens)" })]);
  list.classList.toggle("dialogue", row.turns !== undefined);
  list.replaceChildren(...(row.turns ? tokensInTurns(row, tokens) : tokens.map(([, element]) => element)));
  fillPager(strip, end);
}

function tokenElement(row, index) {
  const text = visibleToken(row, index);
  const classes = ["token", row.skipped.has(index) && "unwritten", row.tokens[index] === "" && "special"].filter(Boolean).join(" ");
  const element = make(
    "span",
    { class: classes, role: "option", tabindex: "-1", "aria-selected": "false", "aria-posinset": placeOf(row, index) + 1, "aria-setsize": row.num, "data-index": index },
    make("bdi", { text: text.length > 60 ? `${text.slice(0, 60)}…` : text }),
    make("span", { class: "value" }),
  );
  if (/^\s/.test(row.tokens[index])) element.classList.add("spaced");
  return element;
}

function fillPager(strip, end) {
  const { row, pager, start } = strip;
  pager.replaceChildren();
  if (row.tokens.length <= WINDOW) return;
  const turn = (text, to) => {
    const button = make("button", { type: "button", text, disabled: to < 0 || to >= row.tokens.length ? "" : null });
    button.addEventListener("click", () => chooseToken(strip.side, to, false));
    return button;
  };
  const from = placeOf(row, start) + 1;
  const said = `Tokens ${from.toLocaleString("en")} to ${(placeOf(row, end - 1) + 1).toLocaleString("en")} of ${row.num.toLocaleString("en")}`;
  pager.append(turn("Earlier tokens", start - WINDOW), make("span", { class: "quiet", text: said }), turn("Later tokens", start + WINDOW));
}

// Colours, numbers and names of the tokens of a strip, for the chosen quantity.
function paintStrip(strip, largest) {
  const values = state.quantity.of(strip.row, state.lambda);
  strip.list.classList.toggle("numbered", state.numbers);
  for (const element of strip.list.querySelectorAll(".token")) {
    const index = Number(element.dataset.index);
    const value = values ? values[index] : NaN;
    paint(element, state.quantity, value, largest);
    const text = shownValue(state.quantity, value);
    const own = !strip.row.skipped.has(index);
    element.lastChild.textContent = state.numbers && own ? brief(shownValue(state.quantity, value, 3), value) : "";
    const said = values && own ? `, ${state.quantity.label} ${withUnit(state.quantity, text)}` : "";
    const name = `${element.firstChild.textContent}${said}`;
    element.setAttribute("aria-label", own ? name : `${name}, not written by the policy`);
  }
}

function markToken(strip) {
  for (const element of strip.list.querySelectorAll("[role=option]")) {
    const chosen = strip.side === state.side && Number(element.dataset.index) === state.index;
    element.setAttribute("aria-selected", String(chosen));
    element.tabIndex = chosen ? 0 : -1;
  }
  // A list in which no token is chosen can still be reached.
  if (strip.side !== state.side) strip.list.querySelector("[role=option]")?.setAttribute("tabindex", "0");
}
