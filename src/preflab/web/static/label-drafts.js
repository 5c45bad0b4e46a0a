// Drafts: a copy in this browser at every change, a copy on the server shortly after.
// The local copy is what survives a crash, a lost connection and a sign-in that ran out.

import { entered } from "./label-form.js";
import { call } from "./label-network.js";

const PAUSE_MS = 700;
const AGAIN_MS = [2_000, 5_000, 10_000, 30_000];

export function read(key) {
  try {
    return JSON.parse(localStorage.getItem(key));
  } catch {
    return null;
  }
}

export function write(key, value) {
  try {
    if (value === null) localStorage.removeItem(key);
    else localStorage.setItem(key, JSON.stringify(value));
    return true;
  } catch {
    return false; // storage full or forbidden: the server's copy remains
  }
}

export class Drafts {
  /** `say(state, text)` tells the person how things stand; `trouble(status)` is called when signing in is needed. */
  constructor(form, time, say, trouble) {
    Object.assign(this, { form, time, say, trouble });
    this.key = `preflab:draft:${form.dataset.labeler}:${form.dataset.task}`;
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

  /** What this browser kept and the server never acknowledged, or null. */
  kept() {
    const copy = read(this.key);
    return copy && !copy.stored ? copy : null;
  }

  changed() {
    this.changes += 1;
    write(this.key, { ...this.now, based_on: this.based, stored: false });
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
    const { status } = await call("PUT", url, { draft, based_on: this.based });
    if (this.stopped) return;
    if (status >= 200 && status < 300) return this.acknowledged(upTo, draft);
    if (status === 0 || status >= 500) return this.failed();
    this.trouble(status);
  }

  acknowledged(upTo, draft) {
    this.failures = 0;
    this.stored = upTo;
    if (this.unsaved) return this.later(PAUSE_MS);
    write(this.key, { ...draft, based_on: this.based, stored: true });
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
