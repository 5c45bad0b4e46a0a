// Measures the time spent on a task; it counts only while the page is visible and used.

// Reading causes no events, so up to this much time without events counts as work.
const READING_MS = 30_000;

export class ActiveTime {
  /** Both arguments are the milliseconds of earlier visits to this task's page. */
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
