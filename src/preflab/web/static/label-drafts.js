// Drafts are stored in this browser at every change, and on the server shortly after.
// The local copy survives a crash, a lost connection and an expired session.

import { entered } from "./label-form.js";
import { call } from "./label-network.js";
import { read, write } from "./label-storage.js";

const PAUSE_MS = 700;
const AGAIN_MS = [2_000, 5_000, 10_000, 30_000];

export const draftKey = (labeler, task) => `preflab:draft:${labeler}:${task}`;

export class Drafts {
  /** `say(state, text)` shows the state; `trouble(status, reply)` handles errors that a retry cannot fix. */
  constructor(form, time, say, trouble) {
    Object.assign(this, { form, time, say, trouble });
    this.key = draftKey(form.dataset.labeler, form.dataset.task);
    this.based = Number(form.elements.based_on.value);
    this.changes = 0;
    this.stored = 0;
    this.failures = 0;
    this.timer = null;
  }

  get unsaved() {
    return this.changes !== this.stored;
  }

  get now() {
    const { form, time } = this;
    return { fields: entered(form), active_ms: time.active(), shown_ms: time.shown(), step: Number(form.dataset.step ?? 0) };
  }

  /** The draft that this browser keeps because the server has not confirmed it, or null. */
  kept() {
    return read(this.key);
  }

  changed() {
    this.changes += 1;
    write(this.key, { ...this.now, based_on: this.based });
    this.later(PAUSE_MS);
  }

  later(ms) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.save(), ms);
  }

  stop() {
    clearTimeout(this.timer);
    this.stopped = true;
  }

  async save() {
    if (this.stopped || !this.unsaved) return;
    const upTo = this.changes;
    const draft = this.now;
    const url = this.form.dataset.draftUrl;
    const { status, reply } = await call("PUT", url, { draft, based_on: this.based });
    if (this.stopped) return;
    if (status >= 200 && status < 300) return this.acknowledged(upTo);
    if (status === 0 || status >= 500) return this.failed();
    this.trouble(status, reply);
  }

  acknowledged(upTo) {
    this.failures = 0;
    this.stored = upTo;
    if (this.unsaved) return this.later(PAUSE_MS);
    write(this.key, null);
    this.say("saved", "Draft saved");
  }

  failed() {
    const wait = AGAIN_MS[Math.min(this.failures, AGAIN_MS.length - 1)];
    this.failures += 1;
    this.say("kept", "The server does not answer. Your draft is kept in this browser.");
    this.later(wait);
  }

  forget() {
    this.stop();
    write(this.key, null);
  }
}
