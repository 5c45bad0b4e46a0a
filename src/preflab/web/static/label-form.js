// The labelling form as data: its groups of radio buttons, the chosen values, the missing answers, and drafts.

export const groupsOf = (form) => [...form.querySelectorAll("fieldset[data-group]")].filter((group) => !group.hidden);

export const cardOf = (element) => element?.closest?.("[data-card]") ?? null;

export const chosen = (group) => group.querySelector("input[type=radio]:checked");

const failMarks = (form) => [...form.querySelectorAll("input[data-fail]")];

/** Whether a group needs an answer: not for a completion marked F, nor for a choice if any (or all) are marked F. */
export function needsAnswer(form, group) {
  if (chosen(group)) return false;
  const card = cardOf(group);
  if (card) return !card.querySelector("input[data-fail]:checked");
  const marks = failMarks(form).map((mark) => mark.checked);
  return !(group.dataset.wide === "any" ? marks.some(Boolean) : marks.length > 0 && marks.every(Boolean));
}

/** Unchecks a choice whose completion is marked F, since such a completion cannot be the better one. */
export function takeBackFailed(form) {
  for (const group of form.querySelectorAll("fieldset[data-wide]")) {
    const choice = chosen(group);
    if (choice && form.elements[`failed_${choice.value}`]?.checked) choice.checked = false;
  }
}

export const missing = (form) => groupsOf(form).filter((group) => needsAnswer(form, group));

/** A sentence about missing answers, with the words of the groups: "Still to do: a rank for B and D". */
export function missingSentence(groups) {
  if (groups.length === 0) return "";
  const letters = groups.map((group) => cardOf(group)?.dataset.card).filter(Boolean);
  const unique = [...new Set(letters)];
  if (unique.length === 0) return `Still to do: ${groups[0].dataset.wants}`;
  const listed = unique.length > 1 ? `${unique.slice(0, -1).join(", ")} and ${unique.at(-1)}` : unique[0];
  return `Still to do: ${groups[0].dataset.wants} for ${listed}`;
}

/** The values a person entered, as name → value, without hidden fields. */
export function entered(form) {
  const fields = {};
  for (const control of form.elements) {
    if (!control.name || control.type === "hidden" || control.type === "submit") continue;
    if ((control.type === "radio" || control.type === "checkbox") && !control.checked) continue;
    if (control.value !== "") fields[control.name] = control.value;
  }
  return fields;
}

export function restore(form, fields) {
  for (const control of form.elements) {
    if (!control.name || control.type === "hidden" || control.type === "submit") continue;
    if (control.type === "radio") control.checked = fields[control.name] === control.value;
    else if (control.type === "checkbox") control.checked = control.name in fields;
    else control.value = fields[control.name] ?? "";
  }
}

/** The completions marked F so far, as "failed: B, D", or "". */
export function failedSoFar(form) {
  const letters = [...form.querySelectorAll("[data-card]")].filter(hasFailed).map((card) => card.dataset.card);
  return letters.length ? `failed: ${letters.join(", ")}` : "";
}

const hasFailed = (card) => card.querySelector("input[data-fail]:checked, input[value='F']:checked") !== null;

/** The ranking so far in one line, for ways that rank: "B › A = C · failed: D". */
export function orderSoFar(form) {
  const byRank = new Map();
  for (const card of form.querySelectorAll("[data-card]")) {
    const rank = card.querySelector("fieldset[data-ranks] input:checked")?.value;
    if (rank && !hasFailed(card)) byRank.set(Number(rank), [...(byRank.get(Number(rank)) ?? []), card.dataset.card]);
  }
  const ranked = [...byRank].sort(([one], [other]) => one - other).map(([, letters]) => letters.join(" = "));
  return [ranked.join(" › "), failedSoFar(form)].filter(Boolean).join(" · ");
}

/** Shows one step of a form in two steps (such as scores, then ranks); has no effect on groups of one-step forms. */
export function showStep(form, step) {
  form.dataset.step = String(step);
  for (const group of form.querySelectorAll("fieldset[data-step]")) group.hidden = Number(group.dataset.step) !== step;
  for (const told of form.querySelectorAll("[data-told]")) {
    const score = told.closest("[data-card]").querySelector("fieldset[data-step='0'] input:checked")?.value;
    told.textContent = score ? `You scored it ${score}` : "";
    told.hidden = step === 0 || !score;
  }
}
