// Which of the page's keys a press means, on any keyboard: first what it types, then the digit it stands for in another
// script, then where the key lies. So whoever types Latin letters is read by what is printed on the keys, whatever their
// order, and a row of & é " or a Cyrillic keyboard works by place. A dead key, or one that the browser cannot name, works
// by place alone.

const NAMED = /^[A-Z][A-Za-z0-9]+$/; // Enter, ArrowDown, Process: keys that type nothing
// Keys of which only the place is known. A dead key (an accent) is a mark; some remote keyboards name no key at all.
const WITHOUT_CHARACTER = new Map([["Dead", "´"], ["Unidentified", ""]]);
const FULL_WIDTH = /^[\uFF01-\uFF5E]$/; // NFKC is for these alone: it also makes 2 of ² and a of ª, keys of their own
const DIGIT = /^\p{Nd}$/u;
const LETTER = /[\p{L}\p{M}]/u;
const LATIN = /\p{Script=Latin}/u;
const ALIKE = new Map([["؟", "?"], ["՞", "?"], ["፧", "?"], ["⸮", "?"]]); // question marks

// Whether the last letter typed was Latin; null before the first. Where letters are not, marks may lie on their places
// (a Hebrew keyboard types ' with the key W); where they are, a mark is a mark (Dvorak types , there).
let latin = null;

/** The value of a digit of any script: digits stand in rows of ten, each row from zero to nine. */
export function digitOf(key) {
  if (!DIGIT.test(key)) return "";
  let start = key.codePointAt(0);
  const own = start;
  while (DIGIT.test(String.fromCodePoint(start - 1))) start -= 1;
  return String((own - start) % 10);
}

/** What a press may mean, the likeliest first. */
export function meant(event) {
  const { key, code, shiftKey } = event;
  if (WITHOUT_CHARACTER.has(key)) return placed(WITHOUT_CHARACTER.get(key), code ?? "", shiftKey);
  if (!key || NAMED.test(key)) return [key];
  if (LETTER.test(key)) latin = LATIN.test(key);
  const narrow = FULL_WIDTH.test(key) ? key.normalize("NFKC") : "";
  const typed = [...new Set([key, narrow, digitOf(key), ALIKE.get(key)])].filter(Boolean);
  return DIGIT.test(key) ? typed : [...typed, ...placed(key, code ?? "", shiftKey)];
}

function placed(key, code, shiftKey) {
  const digit = /^(?:Digit|Numpad)(\d)$/.exec(code);
  if (digit) return shiftKey ? [] : [digit[1]];
  const letter = /^Key([A-Z])$/.exec(code);
  if (!letter || LATIN.test(key) || (latin && key && !LETTER.test(key))) return [];
  return [shiftKey ? letter[1] : letter[1].toLowerCase()];
}

/** Whether a press is left alone: with Ctrl, Alt, AltGr or Meta, or while a character is being composed. */
export const isForOthers = (event) =>
  event.ctrlKey || event.metaKey || event.altKey || event.getModifierState("AltGraph") || isComposed(event);

export const isComposed = (event) => event.isComposing || event.key === "Process" || event.keyCode === 229;
