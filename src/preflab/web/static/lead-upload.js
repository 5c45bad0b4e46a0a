// Files that are too large for the form are named before anything is sent; without a script the server's answer does it.

const ROOM = 128 * 1024; // what the form's texts may take, and what a browser writes around them
const form = document.querySelector("form[data-limit]");
const notice = document.getElementById("too-large");

/** Says how large the chosen files are together where that is too much; returns whether it is. */
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
