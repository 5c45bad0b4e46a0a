// The parts of the page besides the form: dialogs, folded texts, and notices that stay until the person responds.

import { isForOthers, meant } from "./label-layouts.js";

/** Links with `data-dialog` open that dialog on the page; without scripts they lead to another page. */
export function openDialogs() {
  for (const opener of document.querySelectorAll("[data-dialog]")) {
    const dialog = document.getElementById(opener.dataset.dialog);
    opener.addEventListener("click", (event) => {
      event.preventDefault();
      dialog.showModal();
    });
  }
  for (const dialog of document.querySelectorAll("dialog")) {
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    dialog.addEventListener("keydown", (event) => {
      const own = !isForOthers(event) && meant(event).includes(dialog.dataset.key);
      if (own) {
        event.preventDefault();
        dialog.close();
      }
    });
  }
}

/** Adds a button to every text or image that does not fit its box; the button shows all of it. */
export function foldLong() {
  for (const box of document.querySelectorAll("[data-foldable]")) makeFoldable(box);
  document.getElementById("whole").addEventListener("click", showOrFoldAll);
  // Scroll a conversation to its end, since the completions answer the last turn.
  const prompt = document.getElementById("text-prompt");
  if (prompt.querySelector(".turns")) prompt.scrollTop = prompt.scrollHeight;
}

function makeFoldable(box) {
  const button = document.getElementById(box.dataset.foldable);
  const image = box.querySelector("img");
  // A very long text has its beginning and the whole text in a separate fold; the button opens both.
  const rest = box.querySelectorAll("details.whole");
  const cut = () => box.scrollHeight > box.clientHeight + 8 || rest.length > 0;
  const smaller = () => image && image.naturalWidth > image.width + 8 && image.width < box.clientWidth - 8;
  const look = () => {
    button.hidden = !(box.classList.contains("whole") || cut() || smaller());
    document.getElementById("whole").hidden = !document.querySelector("button.unfold:not([hidden])");
  };
  button.addEventListener("click", () => {
    const whole = box.classList.toggle("whole");
    for (const fold of rest) fold.open = whole;
    button.textContent = whole ? button.dataset.fold : button.dataset.show;
    button.setAttribute("aria-expanded", String(whole));
  });
  look();
  new ResizeObserver(look).observe(box);
  image?.addEventListener("load", look);
}

function showOrFoldAll() {
  const buttons = [...document.querySelectorAll("button.unfold:not([hidden])")];
  const open = buttons.some((button) => button.getAttribute("aria-expanded") !== "true");
  for (const button of buttons) if ((button.getAttribute("aria-expanded") !== "true") === open) button.click();
}

export function focusHeading() {
  document.getElementById("question")?.focus({ preventScroll: true });
}

/** Shows one notice at a time, made from a `<template>`; `data-do` of a button names its action. */
export class Notice {
  constructor(place) {
    this.place = place;
  }

  show(name, { text, seconds, ...actions }) {
    clearInterval(this.clock);
    const template = document.getElementById(`notice-${name}`);
    const filled = template.content.cloneNode(true);
    this.place.classList.toggle("alarm", !("calm" in template.dataset));
    if (text) filled.querySelector("[data-text]").textContent = text;
    for (const button of filled.querySelectorAll("button[data-do]")) {
      button.addEventListener("click", () => {
        this.hide();
        actions[button.dataset.do]?.();
      });
    }
    const counter = filled.querySelector("[data-seconds]");
    if (counter) this.countDown(counter, seconds);
    const again = this.place.dataset.name === name && !this.place.hidden;
    if (again && counter) return this.place.querySelector("[data-seconds]").replaceWith(counter);
    this.place.replaceChildren(filled);
    this.place.dataset.name = name;
    this.place.hidden = false;
    this.place.querySelector("[data-first]")?.focus();
  }

  countDown(counter, seconds) {
    const write = () => (counter.textContent = seconds > 0 ? `Trying again in ${seconds} s.` : "Trying again …");
    write();
    this.clock = setInterval(() => {
      seconds -= 1;
      write();
      if (seconds <= 0) clearInterval(this.clock);
    }, 1000);
  }

  hideAny(names) {
    if (names.includes(this.place.dataset.name)) this.hide();
  }

  hide() {
    clearInterval(this.clock);
    this.place.hidden = true;
    this.place.replaceChildren();
  }
}
