// The keyboard. The attributes `data-key` and `data-command` of the page say which key an element responds to.
// A key is looked up first in the current group of radio buttons, then in its completion, then in the answer to the
// whole task, then among the commands.

import { cardOf, chosen, groupsOf, missing } from "./label-form.js";
import { isComposed, isForOthers, meant } from "./label-layouts.js";
import { read, write } from "./label-storage.js";

const SWITCH = "preflab:keys";

const TYPED = "textarea, select, input:not([type=radio], [type=checkbox], [type=button], [type=submit])";
const inText = (element) => element?.isContentEditable || element?.matches?.(TYPED);

/** The current group: the one with the focus, or the first that still needs an answer. */
function currentGroup(form) {
  const focused = document.activeElement?.closest?.("fieldset[data-group]");
  if (focused && form.contains(focused)) return focused;
  const card = cardOf(document.activeElement);
  const own = card?.querySelector("fieldset[data-group]:not([hidden])");
  return own ?? missing(form)[0] ?? null;
}

export function goTo(group) {
  const radio = chosen(group) ?? group.querySelector("input[type=radio]");
  (cardOf(group) ?? group).scrollIntoView({ block: "nearest" });
  radio?.focus({ preventScroll: true });
}

function goToCard(card) {
  const group = card.querySelector("fieldset[data-group]:not([hidden])");
  if (group) return goTo(group);
  card.scrollIntoView({ block: "nearest" });
  card.querySelector("input[data-fail]")?.focus({ preventScroll: true });
}

/** After an answer by key, moves to the next missing answer below, then above, then to the submit button. */
function goOn(form, from) {
  const open = missing(form);
  const below = open.find((group) => from.compareDocumentPosition(group) & Node.DOCUMENT_POSITION_FOLLOWING);
  const next = below ?? open[0];
  if (next) goTo(next);
  else form.querySelector("[data-submit]").focus({ preventScroll: true });
}

function step(form, by) {
  const stops = groupsOf(form).some(cardOf) ? groupsOf(form) : [...form.querySelectorAll("[data-card]")];
  const here = stops.findIndex((stop) => stop.contains(document.activeElement));
  const next = stops[here === -1 ? (by > 0 ? 0 : stops.length - 1) : Math.min(Math.max(here + by, 0), stops.length - 1)];
  if (next) next.matches("[data-card]") ? goToCard(next) : goTo(next);
}

function pick(form, key) {
  const group = currentGroup(form);
  const wide = form.querySelector("fieldset[data-group][data-wide]:not([hidden])");
  for (const place of [group, cardOf(document.activeElement) ?? cardOf(group), wide]) {
    const control = place?.querySelector(`input[data-key="${CSS.escape(key)}"]`);
    if (!control || control.closest("[hidden]")) continue;
    control.click();
    control.focus({ preventScroll: true });
    if (control.checked) goOn(form, control);
    return true;
  }
  return false;
}

// The element that had the focus before a key opened the note or the reasons for skipping; Escape returns to it.
let before = null;

function command(key) {
  const owner = [...document.querySelectorAll(`[data-command="${CSS.escape(key)}"]`)].find((one) => !one.closest("[hidden]"));
  if (!owner) return false;
  before = document.activeElement;
  if (owner.matches("textarea")) {
    owner.closest("details")?.setAttribute("open", "");
    owner.focus();
    owner.setSelectionRange(owner.value.length, owner.value.length);
    return true;
  }
  owner.click();
  if (owner.parentElement.open) owner.parentElement.querySelector("input")?.focus();
  return true;
}

function act(form, key, shifted) {
  if (key === "j" || key === "k") return step(form, key === "j" ? 1 : -1), true;
  const letter = key.length === 1 ? key.toUpperCase() : "";
  const card = letter && form.querySelector(`[data-card="${CSS.escape(letter)}"]`);
  if (card && (shifted || (letter <= "E" && key === key.toLowerCase()))) return goToCard(card), true;
  return pick(form, key.toLowerCase()) || command(key.toLowerCase());
}

/** On Escape, leaves the note or the reasons for skipping and returns to the task. */
function leave(here) {
  const details = here?.closest?.(".extras details");
  if (!details) return;
  if (details.matches(".skipping")) details.open = false;
  const back = before?.isConnected && before !== document.body && !details.contains(before) ? before : null;
  (back ?? details.querySelector("summary")).focus({ preventScroll: back !== null });
  before = null;
}

export const keysAreOn = () => read(SWITCH) !== "off";

/**
 * Enter submits; Ctrl+Enter submits from a text; Escape leaves a text; single keys can be switched off.
 * While `away()` is true, keys do nothing, since the person types ahead for a task that is not on the screen yet.
 */
export function listenToKeys(form, submit, away) {
  const toggle = document.getElementById("keys-on");
  if (toggle) {
    toggle.checked = keysAreOn();
    toggle.addEventListener("change", () => write(SWITCH, toggle.checked ? "on" : "off"));
  }
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.altKey || isComposed(event) || document.querySelector("dialog[open]")) return;
    if (away()) return event.preventDefault();
    const here = document.activeElement;
    if (event.key === "Escape") leave(here);
    if (inText(here)) {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && form.contains(here)) submit();
      return;
    }
    if (isForOthers(event) || event.repeat) return;
    if (event.key === "Enter") {
      if (here?.closest("a, button, summary") || (here?.form && here.form !== form)) return;
      event.preventDefault();
      return submit();
    }
    const keys = meant(event);
    // While the reasons for skipping have the focus, keys must not change the answer above.
    if (here?.closest?.(".skipping[open]") && !keys.includes("s")) return;
    if (keysAreOn() && keys.some((key) => act(form, key, event.shiftKey))) event.preventDefault();
  });
}
