// Shows all images of a task at their full size, side by side. A click, a tap, Enter or `z` opens the dialog, Escape
// closes it. A click on an enlarged image fits it to the screen or restores its size. Without scripts, each image is a
// link to its file.

import { isForOthers, meant } from "./label-layouts.js";

const dialog = document.getElementById("images");
const fit = document.getElementById("images-fit");
const links = [...document.querySelectorAll("a.enlarge")];

/** The letter of the completion to which an image belongs. */
const letterOf = (link) =>
  link.closest("[data-card]")?.dataset.card ?? link.closest("article")?.querySelector("h2, h3")?.textContent.trim() ?? "";

function wallOf(link) {
  const filled = document.getElementById("images-one").content.cloneNode(true);
  const wall = filled.querySelector(".wall");
  filled.querySelector("figcaption").textContent = letterOf(link);
  wall.setAttribute("aria-label", `Image ${letterOf(link)}`);
  wall.querySelector("img").src = link.href;
  wall.querySelector("img").alt = link.querySelector("img").alt;
  wall.addEventListener("click", (event) => setFit(fit.getAttribute("aria-pressed") !== "true", event));
  return filled;
}

/** Scrolls a wall so that a point of its image (coordinates from 0 to 1) is in the middle. */
function centre(wall, x, y) {
  wall.scrollLeft = x * wall.scrollWidth - wall.clientWidth / 2;
  wall.scrollTop = y * wall.scrollHeight - wall.clientHeight / 2;
}

/** The position of a click within an image, as coordinates from 0 to 1. */
function pointOf(event) {
  const image = event?.target.closest?.("img") ?? event?.currentTarget?.querySelector?.("img");
  if (!image || !event.clientX) return [0.5, 0.5];
  const box = image.getBoundingClientRect();
  const [wide, high] = [image.naturalWidth || box.width, image.naturalHeight || box.height];
  const scale = Math.min(box.width / wide, box.height / high); // a fitted image leaves a margin in its box
  const within = (at, start, size, drawn) => Math.min(Math.max((at - start - (size - drawn) / 2) / drawn, 0), 1);
  return [
    within(event.clientX, box.left, box.width, wide * scale),
    within(event.clientY, box.top, box.height, high * scale),
  ];
}

function setFit(fitted, event) {
  const [x, y] = pointOf(event);
  fit.setAttribute("aria-pressed", String(fitted));
  dialog.classList.toggle("fit", fitted);
  if (!fitted) for (const wall of dialog.querySelectorAll(".wall")) centre(wall, x, y);
}

function open(from, event) {
  document.getElementById("images-shown").replaceChildren(...links.map(wallOf));
  dialog.showModal();
  setFit(false, event);
  for (const wall of dialog.querySelectorAll(".wall")) {
    const [x, y] = pointOf(event);
    wall.querySelector("img").addEventListener("load", () => centre(wall, x, y), { once: true });
  }
  const wall = dialog.querySelectorAll(".wall")[Math.max(links.indexOf(from), 0)];
  wall?.focus();
  wall?.closest("figure").scrollIntoView({ block: "start" });
}

for (const link of links) {
  link.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return; // opens a new window, as with any link
    event.preventDefault();
    open(link, event.detail ? event : null);
  });
}
for (const button of document.querySelectorAll("[data-enlarge]")) {
  button.hidden = links.length === 0;
  button.addEventListener("click", () => {
    const card = document.activeElement?.closest("article");
    open(links.find((link) => card?.contains(link)) ?? links[0], null);
  });
}
fit.addEventListener("click", () => setFit(fit.getAttribute("aria-pressed") !== "true"));
dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
dialog.addEventListener("keydown", (event) => {
  if (isForOthers(event) || !meant(event).includes("z")) return;
  event.preventDefault();
  event.stopPropagation();
  dialog.close();
});
dialog.addEventListener("close", () => document.getElementById("images-shown").replaceChildren());
