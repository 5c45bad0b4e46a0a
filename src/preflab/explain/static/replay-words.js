// Numbers, counted nouns and tokens as text; elements are made here, and texts enter them as text alone.
function number(value, digits = 4) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  const size = Math.floor(Math.log10(Math.abs(value)));
  if (size < -4 || size > 8) return value.toExponential(digits - 1).replaceAll("-", "−");
  const decimals = Math.max(0, digits - 1 - size);
  const text = value.toFixed(decimals);
  return (decimals ? text.replace(/\.?0+$/, "") : text).replace("-", "−");
}

// For small print: a value that three digits cannot show is near 0.
const brief = (text, value) => (value !== 0 && Math.abs(value) < 0.0005 ? "≈0" : text);

function signed(value, digits) {
  const text = number(value, digits);
  return value > 0 && text !== "–" ? `+${text}` : text;
}

function count(amount, one, many = `${one}s`) {
  return `${amount.toLocaleString("en")} ${amount === 1 ? one : many}`;
}

function make(tag, options = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(options)) {
    if (name === "text") element.textContent = value;
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

const NAMED = { "\n": "⏎", "\r": "␍", "\t": "⇥", "\u007f": "␡" };

// A token as it is shown: without spaces at its ends, control characters made visible; an empty one shows its id.
function visibleToken(row, index) {
  const text = row.tokens[index];
  if (text === "") return row.ids === null ? "⟨empty⟩" : `⟨${row.ids[index]}⟩`;
  const shown = text.trim() === "" ? text.replaceAll(" ", "␣") : text.replace(/^ +| +$/g, "");
  return shown.replace(/[\u0000-\u001f\u007f]/g, (each) => NAMED[each] ?? String.fromCharCode(0x2400 + each.charCodeAt(0)));
}

// A text that may have been cut: [its start, its end, number of characters between].
function wholeText(text) {
  if (typeof text === "string") return text;
  return `${text[0]}\n[… ${count(text[2], "character")} not on this page …]\n${text[1]}`;
}

function shortText(text, most) {
  const whole = (typeof text === "string" ? text : text[0]).replace(/\s+/g, " ").trim();
  return whole.length > most ? `${whole.slice(0, most)}…` : whole;
}

// A paragraph of a model's text; one that is empty says so in another style.
function written(text, name) {
  const whole = wholeText(text);
  return whole === "" ? make("p", { class: "nothing", text: "(empty)" }) : make("p", { class: name, dir: "auto", text: whole });
}

function tableOf(headings, rows, label) {
  const cell = (tag, value, index) => make(tag, { class: index && "numeric", scope: tag === "th" ? "col" : null, text: value });
  return make(
    "table",
    { "aria-label": label },
    make("thead", {}, make("tr", {}, ...headings.map((heading, index) => cell("th", heading, index)))),
    make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map((value, index) => cell("td", value, index))))),
  );
}
