// The labelling page: connects the form, the keyboard, drafts, time and saving. The script of a way of judging
// (way-*.js) calls `start` with the functions specific to that way.

import { Drafts } from "./label-drafts.js";
import { failedSoFar, missing, missingSentence, restore, showStep } from "./label-form.js";
import { call } from "./label-network.js";
import { goTo, listenToKeys } from "./label-keys.js";
import { Saving, sendLeftBehind } from "./label-saving.js";
import { ActiveTime } from "./label-time.js";
import { foldLong, focusHeading, openDialogs, Notice } from "./label-view.js";

const form = document.getElementById("judging");
const saved = document.getElementById("saved");
const button = form.querySelector("[data-submit]");
const notice = new Notice(document.getElementById("notice"));
const time = new ActiveTime(Number(form.elements.active_ms.value), Number(form.elements.shown_ms.value));
const twoSteps = form.dataset.steps === "2";
let leaving = false;

/** Functions specific to the way of judging: `soFar` returns the answer so far in a line, `tidy` runs after a change. */
let way = { soFar: failedSoFar, tidy: () => {} };

const say = (state, text) => {
  saved.dataset.state = state;
  if (saved.textContent !== text) saved.textContent = text; // screen readers would read an unchanged text again
};

const drafts = new Drafts(form, time, say, (status, reply) => {
  if (status === 401) return signedOut();
  if (status === 409) return stale(reply);
  say("kept", "Draft kept in this browser.");
});

const saving = new Saving(form, time, {
  sending: () => {
    button.setAttribute("aria-disabled", "true");
    say("sending", "Submitting …");
  },
  waiting: (seconds) => {
    ready();
    say("unsaved", "Not submitted yet.");
    notice.show("unsent", { seconds, again: () => saving.send() });
  },
  stored: (reply) => {
    say("saved", "Stored");
    leave(reply.next);
  },
  confirm: (text) => {
    ready();
    say("", "");
    notice.show("confirm", { text, yes: () => submit({ confirmed: "1" }), no: () => goTo(firstGroup()) });
  },
  stale,
  refused: (reply) => {
    ready();
    say("unsaved", "Not submitted.");
    notice.show("refused", { text: inWords(reply) });
  },
  signedOut,
});

const firstGroup = () => form.querySelector("fieldset[data-group]:not([hidden])");

function ready() {
  button.removeAttribute("aria-disabled");
}

function signedOut() {
  ready();
  say("unsaved", "Not saved on the server.");
  notice.show("signed-out", {});
}

function stale({ error }) {
  ready();
  say("unsaved", "Not submitted.");
  notice.show("stale", { mine: () => replaceOther(error.current_revision), other: () => leave(form.dataset.editUrl) });
}

function replaceOther(revision) {
  form.elements.based_on.value = revision;
  drafts.based = revision;
  return submit();
}

function submit(extra = {}) {
  if (saving.busy) return;
  const open = missing(form);
  if (open.length > 0) {
    say("missing", missingSentence(open));
    return goTo(open[0]);
  }
  if (twoSteps && form.dataset.step === "0") return toStep(1);
  drafts.stop();
  notice.hide();
  saving.submit(extra);
}

/** Skips with a request of the script, so that the form stays on the page if the server does not answer. */
async function skip(skipping) {
  const { status, reply } = await call("POST", skipping.action, new URLSearchParams(new FormData(skipping)));
  if (status === 401) return signedOut();
  if (status === 0 || status >= 500) return notice.show("unskipped", { again: () => skip(skipping) });
  if (status >= 400) return notice.show("refused", { text: inWords(reply) });
  leave(reply.next);
}

const inWords = ({ error }) => (error ? [error.found, error.expected, error.do].filter(Boolean).join("; ") : "");

/** Leaves this task and deletes its draft, which is no longer needed. */
function leave(to) {
  leaving = true;
  drafts.forget();
  location.assign(to);
}

function toStep(step) {
  showStep(form, step);
  refresh();
  goTo(missing(form)[0] ?? firstGroup());
}

function refresh() {
  document.getElementById("so-far").textContent = way.soFar(form);
  const complete = missing(form).length === 0;
  button.classList.toggle("ready", complete);
  const { nextWords, submitWords, step } = form.dataset;
  button.firstElementChild.textContent = twoSteps && step === "0" ? nextWords : submitWords;
  document.getElementById("back-to-scores")?.toggleAttribute("hidden", form.dataset.step !== "1");
  for (const card of form.querySelectorAll("[data-card]")) {
    const failed = card.querySelector("input[data-fail]:checked, input[value='F']:checked");
    card.classList.toggle("failed", Boolean(failed));
  }
}

function changed() {
  if (leaving) return;
  saving.cancel();
  notice.hideAny(["unsent", "confirm", "refused"]);
  way.tidy(form);
  drafts.stopped = false;
  drafts.changed();
  if (saved.dataset.state === "saved") saved.dataset.state = "pending";
  else say("pending", "");
  refresh();
}

function begin() {
  const kept = drafts.kept();
  const step = twoSteps ? Number(form.dataset.step) : 0;
  if (kept && kept.based_on === drafts.based) {
    restore(form, kept.fields);
    time.total = Math.max(time.total, kept.active_ms);
    time.before = Math.max(time.before, kept.shown_ms);
    drafts.changed();
    say("kept", "Your draft was kept in this browser.");
  } else if (kept) {
    notice.show("older", { mine: () => { restore(form, kept.fields); changed(); }, other: () => drafts.forget() });
  }
  if (twoSteps) showStep(form, kept?.step ?? step);
  refresh();
  if (saving.underway) {
    drafts.stop();
    saving.send();
  }
  sendLeftBehind(form.dataset.labeler, form.dataset.task).then(({ sent, refused }) => {
    const earlier = "An earlier answer kept in this browser";
    if (refused > 0) say("unsaved", `${earlier} was not accepted; find it under “What you judged”.`);
    else if (sent > 0) say("saved", `${earlier} has been sent.`);
  });
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});
form.addEventListener("input", (event) => event.target.form === form && changed());
document.getElementById("back-to-scores")?.addEventListener("click", () => toStep(0));
document.getElementById("skipping")?.addEventListener("submit", (event) => {
  event.preventDefault();
  skip(event.target);
});
window.addEventListener("beforeunload", (event) => {
  if (!leaving && (saving.underway || drafts.unsaved)) event.preventDefault();
});
// A link in a notice, such as the one to sign in, needs no warning: the answer is kept and sent afterwards.
form.addEventListener("click", (event) => {
  if (event.target.closest("#notice a") && !event.ctrlKey && !event.metaKey) leaving = true;
});
// A page restored by the browser's Back button may show an outdated answer.
window.addEventListener("pageshow", (event) => event.persisted && location.reload());

/** Called once by the script of the way of judging. */
export function start(own = {}) {
  way = { ...way, ...own };
  openDialogs();
  foldLong();
  listenToKeys(form, submit, () => leaving || saving.busy);
  begin();
  focusHeading();
  document.documentElement.classList.add("scripted");
}
