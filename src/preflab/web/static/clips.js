// Plays the clips of a page: a picture before the first move, then one after every move. Nothing plays by itself.
// Each clip has its buttons; the keys p, comma and full stop act on the current completion, or on all clips if none has
// the focus. Pictures follow one another without any movement between them.

const PACE = 400; // milliseconds per move

class Clip {
  constructor(figure) {
    const { frames, looks, end } = JSON.parse(figure.dataset.clip);
    Object.assign(this, { figure, frames, looks, end, at: 0, timer: null });
    this.board = figure.querySelector(".board");
    this.cells = [...this.board.querySelectorAll(".cell")];
    this.now = figure.querySelector(".now");
    this.moves = [...figure.querySelectorAll(".moves li")];
    figure.querySelector(".still").remove();
    figure.querySelector(".end").hidden = true;
    for (const part of figure.querySelectorAll(".now, .playing")) part.hidden = false;
    for (const button of figure.querySelectorAll("[data-do]")) {
      button.addEventListener("click", () => this[button.dataset.do]());
    }
    this.show(0);
  }

  get last() {
    return this.frames.length - 1;
  }

  get isPlaying() {
    return this.timer !== null;
  }

  /** Shows the picture after so many moves. */
  show(at) {
    this.at = Math.min(Math.max(at, 0), this.last);
    const texts = this.frames[this.at].flat();
    const before = this.frames[Math.max(this.at - 1, 0)].flat();
    const touched = this.touched();
    this.cells.forEach((cell, place) => {
      cell.textContent = texts[place];
      cell.className = `cell look-${this.looks[texts[place]] ?? "text"}`;
      cell.classList.toggle("been", touched.has(place));
      cell.classList.toggle("changed", texts[place] !== before[place]);
    });
    this.board.ariaLabel = `Board, row by row: ${this.frames[this.at].map((row) => row.map((text) => text || " ").join("")).join(", ")}`;
    this.moves.forEach((move, place) => move.classList.toggle("current", place === this.at - 1));
    this.say();
  }

  /** Places of the cells that have changed up to now. */
  touched() {
    const places = new Set();
    for (let frame = 1; frame <= this.at; frame += 1) {
      const [old, now] = [this.frames[frame - 1].flat(), this.frames[frame].flat()];
      now.forEach((text, place) => text !== old[place] && places.add(place));
    }
    return places;
  }

  say() {
    const where = this.at === 0 ? "Before the first move." : `Move ${this.at} of ${this.last}: ${this.moves[this.at - 1].textContent}.`;
    const text = this.at === this.last && this.end ? `${where} ${this.end}` : where;
    this.now.ariaLive = this.isPlaying && this.at < this.last ? "off" : "polite"; // not every picture of a clip that plays
    if (this.now.textContent !== text) this.now.textContent = text;
  }

  play() {
    if (this.isPlaying) return this.pause();
    if (this.at === this.last) this.show(0);
    this.timer = setInterval(() => (this.at < this.last ? this.show(this.at + 1) : this.pause()), PACE);
    this.named();
  }

  pause() {
    clearInterval(this.timer);
    this.timer = null;
    this.named();
  }

  /** Names the button, and makes sure that only what a person asked for is read out. */
  named() {
    this.figure.querySelector("[data-do=play]").textContent = this.isPlaying ? "Pause" : "Play";
    this.say();
  }

  step(by = 1) {
    this.pause();
    this.show(this.at + by);
  }

  back() {
    this.step(-1);
  }
}

const clips = [...document.querySelectorAll("figure.clip")].map((figure) => new Clip(figure));

/** The clips that a key is about: that of the completion with the focus, or all. */
function meantClips() {
  const card = document.activeElement?.closest("article");
  const own = clips.filter((clip) => card?.contains(clip.figure));
  return own.length > 0 ? own : clips;
}

function act(name) {
  const meant = meantClips();
  if (name !== "play") return meant.forEach((clip) => clip[name]());
  const playing = meant.filter((clip) => clip.isPlaying);
  for (const clip of playing.length > 0 ? playing : meant) clip.play();
}

for (const button of document.querySelectorAll("[data-clips]")) {
  button.hidden = clips.length === 0;
  button.addEventListener("mousedown", (event) => event.preventDefault()); // the completion keeps the focus
  button.addEventListener("click", () => act(button.dataset.clips));
}
