// Finds out which of the page's keys a key press means, on any keyboard layout. It tries the character that was typed,
// then the digit that the character stands for in another script, then the position of the key. Layouts with Latin
// letters thus work by the printed letters, whatever their order; a digit row of & é " or a Cyrillic layout works by
// position. Dead keys, and keys that the browser cannot name, work by position only.

const NAMED = /^[A-Z][A-Za-z0-9]+$/; // Enter, ArrowDown, Process: keys that type nothing
// Keys of which only the position is known. A dead key (an accent) is a mark; some remote keyboards name no key at all.
const WITHOUT_CHARACTER = new Map([["Dead", "´"], ["Unidentified", ""]]);
const FULL_WIDTH = /^[\uFF01-\uFF5E]$/; // only these get NFKC, which would also turn ² into 2 and ª into a
const DIGIT = /^\p{Nd}$/u;
const LETTER = /[\p{L}\p{M}]/u;
const LATIN = /\p{Script=Latin}/u;
const ALIKE = new Map([["؟", "?"], ["՞", "?"], ["፧", "?"], ["⸮", "?"]]); // question marks

// Whether the last letter typed was Latin; null before the first. On a non-Latin layout a mark may be at the position
// of a letter (a Hebrew keyboard types ' with the key W); on a Latin layout a mark is only a mark (Dvorak types , there).
let latin = null;

/** The value of a digit of any script, or "". Unicode orders the digits of a script from zero to nine. */
export function digitOf(key) {
  if (!DIGIT.test(key)) return "";
  let start = key.codePointAt(0);
  const own = start;
  while (DIGIT.test(String.fromCodePoint(start - 1))) start -= 1;
  return String((own - start) % 10);
}

/** The keys that a key press may mean, the likeliest first. */
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

/** Whether a key press must be ignored: with Ctrl, Alt, AltGr or Meta, or while a character is being composed. */
export const isForOthers = (event) =>
  event.ctrlKey || event.metaKey || event.altKey || event.getModifierState("AltGraph") || isComposed(event);

export const isComposed = (event) => event.isComposing || event.key === "Process" || event.keyCode === 229;
