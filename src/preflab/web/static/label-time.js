// Time spent on a task: counted only while the page is visible and being used.

// Reading makes no events; this much silence still counts as work, more does not.
const READING_MS = 30_000;

export class ActiveTime {
  /** Both in milliseconds, of earlier visits to this task's page. */
  constructor(active, shown) {
    this.total = active;
    this.before = shown;
    this.began = performance.now();
    this.last = document.hidden ? null : this.began;
    for (const sign of ["pointermove", "pointerdown", "keydown", "wheel", "touchmove", "scroll", "input"]) {
      document.addEventListener(sign, () => this.sign(), { passive: true, capture: true });
    }
    document.addEventListener("visibilitychange", () => (document.hidden ? this.pause() : this.sign()));
  }

  sign() {
    const now = performance.now();
    if (this.last !== null) this.total += Math.min(now - this.last, READING_MS);
    this.last = now;
  }

  pause() {
    this.sign();
    this.last = null;
  }

  active() {
    const since = this.last === null ? 0 : Math.min(performance.now() - this.last, READING_MS);
    return Math.round(this.total + since);
  }

  shown() {
    return Math.round(this.before + performance.now() - this.began);
  }
}
