// For the content of every page: boxes that scroll can be reached by keyboard, and formulas are copied as TeX.

const BOXES = ".scroll, pre, .math.display";

function makeReachable(box) {
  const scrolls = box.scrollWidth > box.clientWidth + 1 || box.scrollHeight > box.clientHeight + 1;
  if (scrolls && !box.hasAttribute("tabindex")) {
    box.tabIndex = 0;
    box.dataset.reached = "";
  } else if (!scrolls && "reached" in box.dataset) {
    box.removeAttribute("tabindex");
    delete box.dataset.reached;
  }
}

/** After a box or an element in it has got another size: a table can grow in a box that keeps its own. */
function sizesChanged(changes) {
  for (const { target } of changes) {
    for (const box of [target, target.parentElement]) if (box?.matches(BOXES)) makeReachable(box);
  }
}

const watch = new ResizeObserver(sizesChanged);
for (const box of document.querySelectorAll(BOXES)) {
  makeReachable(box);
  for (const each of [box, ...box.children]) watch.observe(each);
}

// A fold or dialog that opens shows its boxes at once, and sizes are observed only when a frame is drawn.
const opening = new MutationObserver((changes) => {
  for (const { target } of changes) target.querySelectorAll(BOXES).forEach(makeReachable);
});
opening.observe(document.documentElement, { subtree: true, attributeFilter: ["open"] });

const formulaAt = (node) => (node.nodeType === Node.ELEMENT_NODE ? node : node.parentElement)?.closest(".math");

/** A copy of the selected content, in which formulas are replaced by their whole source. */
function copied(range) {
  const [first, last] = [formulaAt(range.startContainer), formulaAt(range.endContainer)];
  if (first) range.setStartBefore(first);
  if (last) range.setEndAfter(last);
  const fragment = range.cloneContents();
  for (const formula of fragment.querySelectorAll(".math")) formula.replaceWith(formula.title);
  return fragment;
}

document.addEventListener("copy", (event) => {
  const selection = document.getSelection();
  if (selection.isCollapsed || event.target.closest?.("input, textarea")) return;
  const ranges = Array.from({ length: selection.rangeCount }, (_, place) => selection.getRangeAt(place).cloneRange());
  const touches = (range) => formulaAt(range.startContainer) || range.cloneContents().querySelector(".math");
  if (!ranges.some(touches)) return;
  const holder = document.createElement("div");
  holder.className = "spoken"; // out of sight, but laid out: innerText then knows where lines end
  holder.append(...ranges.map(copied));
  document.body.append(holder);
  event.clipboardData.setData("text/plain", holder.innerText);
  event.clipboardData.setData("text/html", holder.innerHTML);
  holder.remove();
  event.preventDefault();
});
