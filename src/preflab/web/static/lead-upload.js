// Warns about files that are too large before the form is sent; without scripts the server refuses them.

const ROOM = 128 * 1024; // reserved for the form's texts and for what a browser adds to them
const form = document.querySelector("form[data-limit]");
const notice = document.getElementById("too-large");

/** Whether the chosen files together are too large; if so, shows a notice with their size. */
function isTooLarge() {
  const files = [...form.querySelectorAll("input[type=file]")].flatMap((input) => [...input.files]);
  const size = files.reduce((sum, file) => sum + file.size, 0);
  notice.hidden = size + ROOM <= Number(form.dataset.limit);
  notice.querySelector("[data-size]").textContent = (size / 1048576).toFixed(1);
  return !notice.hidden;
}

form.addEventListener("change", isTooLarge);
form.addEventListener("submit", (event) => {
  if (!isTooLarge()) return;
  event.preventDefault();
  notice.scrollIntoView({ block: "center" });
});
