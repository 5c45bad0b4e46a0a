// Submits answers. The form stays on the page until the server confirms that the answer is stored.
// An answer that is being sent is also kept in the browser with the key of its first attempt, so that a retry, a reload
// or a lost reply never creates a second judgment.

import { draftKey } from "./label-drafts.js";
import { call, freshKey } from "./label-network.js";
import { keysLike, read, write } from "./label-storage.js";

const AGAIN_S = [1, 2, 4, 8, 15, 30];
// Fields that may differ between two attempts to send the same answer.
const PER_TRY = ["key", "active_ms", "shown_ms"];

const keyOf = (body) => new URLSearchParams(body).get("key");

function sameAnswer(one, other) {
  const plain = (body) => {
    const fields = new URLSearchParams(body);
    PER_TRY.forEach((name) => fields.delete(name));
    return fields.toString();
  };
  return plain(one) === plain(other);
}

const outbox = (labeler) => `preflab:out:${labeler}:`;

export class Saving {
  /** `on` holds a handler for each event: sending, waiting, stored, confirm, stale, refused, signedOut. */
  constructor(form, time, on) {
    Object.assign(this, { form, time, on });
    this.slot = outbox(form.dataset.labeler) + form.dataset.task;
    this.last = read(this.slot);
    this.tries = 0;
    this.busy = false;
  }

  /** Whether this page or an earlier one has sent an answer without getting a reply. */
  get underway() {
    return this.last !== null;
  }

  body(extra) {
    this.form.elements.active_ms.value = this.time.active();
    this.form.elements.shown_ms.value = this.time.shown();
    const body = new URLSearchParams(new FormData(this.form));
    Object.entries(extra).forEach(([name, value]) => body.set(name, value));
    return body;
  }

  submit(extra = {}) {
    const body = this.body(extra);
    if (this.last) body.set("key", sameAnswer(this.last.body, body) ? keyOf(this.last.body) : freshKey());
    this.tries = 0;
    this.last = { url: this.form.action, body: body.toString() };
    write(this.slot, this.last);
    return this.send();
  }

  cancel() {
    clearTimeout(this.timer);
  }

  async send() {
    if (this.busy) return;
    this.cancel();
    this.busy = true;
    this.on.sending();
    const { status, reply } = await call("POST", this.last.url, new URLSearchParams(this.last.body));
    this.busy = false;
    if (status === 0 || status === 429 || status >= 500) return this.again(status);
    if (status === 401) return this.on.signedOut();
    this.last = null;
    write(this.slot, null);
    if (status === 409) return this.on.stale(reply);
    if (status >= 400) return this.on.refused(reply);
    if (reply.confirm) return this.on.confirm(reply.confirm);
    return this.on.stored(reply);
  }

  again(status) {
    const seconds = AGAIN_S[Math.min(this.tries, AGAIN_S.length - 1)];
    this.tries += 1;
    this.on.waiting(seconds, status);
    this.timer = setTimeout(() => this.send(), seconds * 1000);
  }
}

/**
 * Sends answers to other tasks that an earlier page could not send, each with its first key.
 * An answer that the server refuses becomes a draft again, which is offered when its task is opened.
 */
export async function sendLeftBehind(labeler, exceptTask) {
  const mine = outbox(labeler);
  const told = { sent: 0, refused: 0 };
  for (const slot of keysLike(mine)) {
    const task = slot.slice(mine.length);
    const left = task === exceptTask ? null : read(slot);
    if (!left) continue;
    const { status, reply } = await call("POST", left.url, new URLSearchParams(left.body));
    if (status === 0 || status === 401 || status === 429 || status >= 500) return told;
    const stored = status < 300 && !reply.confirm;
    write(slot, null);
    write(draftKey(labeler, task), stored ? null : asDraft(left.body));
    told[stored ? "sent" : "refused"] += 1;
  }
  return told;
}

function asDraft(body) {
  const fields = Object.fromEntries(new URLSearchParams(body));
  const [based_on, active_ms, shown_ms] = ["based_on", "active_ms", "shown_ms"].map((name) => Number(fields[name]));
  return { fields, based_on, active_ms, shown_ms, step: 0 };
}
