// Submitting: the form stays on the page until the server says that the answer is stored.
// What is on its way lies in the browser too, under the key it was first sent with, so that a retry, a reload or a
// lost reply never makes two judgments of one.

import { draftKey, read, write } from "./label-drafts.js";
import { call, freshKey } from "./label-network.js";

const AGAIN_S = [1, 2, 4, 8, 15, 30];
const TIMES = ["key", "active_ms", "shown_ms"];

const sameAnswer = (one, other) => {
  const plain = (body) => {
    const fields = new URLSearchParams(body);
    TIMES.forEach((name) => fields.delete(name));
    return fields.toString();
  };
  return one !== undefined && plain(one) === plain(other);
};

const outbox = (labeler) => `preflab:out:${labeler}:`;

export class Saving {
  /** `on` holds what to do for each reply: sending, waiting, stored, confirm, stale, refused, signedOut. */
  constructor(form, time, on) {
    Object.assign(this, { form, time, on });
    this.slot = outbox(form.dataset.labeler) + form.dataset.task;
    this.tries = 0;
    this.busy = false;
  }

  get underway() {
    return read(this.slot) !== null;
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
    const before = read(this.slot);
    if (sameAnswer(before?.body, body)) body.set("key", new URLSearchParams(before.body).get("key"));
    else if (before || this.tries > 0) body.set("key", freshKey());
    this.tries = 0;
    write(this.slot, { url: this.form.action, body: body.toString() });
    this.last = { url: this.form.action, body: body.toString() };
    return this.send();
  }

  /** Goes on with what an earlier visit to this page left unsent. */
  resume() {
    this.last = read(this.slot);
    return this.last ? this.send() : null;
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
 * Answers to other tasks that an earlier page could not send; each goes under its first key.
 * One that the server does not take becomes a draft again, offered when its task is opened.
 */
export async function sendLeftBehind(labeler, exceptTask) {
  const mine = outbox(labeler);
  const told = { sent: 0, refused: 0 };
  for (const slot of Object.keys(localStorage).filter((key) => key.startsWith(mine))) {
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
