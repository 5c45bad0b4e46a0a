// Colour of a value: blue above the neutral value, orange below it; strength by the distance. And its legend.
const STRONGEST = 0.6;

// The largest distance of finite values of these rows; 0 if there is none.
function largestDistance(quantity, rows, lambda) {
  let largest = 0;
  for (const row of rows) {
    for (const value of quantity.of(row, lambda) ?? []) {
      const far = Math.abs(distance(quantity, value));
      if (Number.isFinite(far) && far > largest) largest = far;
    }
  }
  return largest;
}

function paint(element, quantity, value, largest) {
  const far = Number.isFinite(value) ? distance(quantity, value) : 0;
  const strength = largest > 0 ? Math.min(1, Math.abs(far) / largest) * STRONGEST : 0;
  element.style.setProperty("--strength", strength.toFixed(3));
  element.classList.toggle("below", far < 0);
}

// Swatches from the smallest to the largest value, each with its number.
function legend(quantity, largest) {
  if (!(largest > 0)) return make("p", { class: "quiet", text: `Every token has the value ${number(quantity.neutral ?? 0)}.` });
  const shares = quantity.kind === "both" ? [-1, -0.5, 0, 0.5, 1] : quantity.kind === "below" ? [1, 0.75, 0.5, 0.25, 0] : [0, 0.25, 0.5, 0.75, 1];
  const swatches = shares.map((share) => {
    const value = valueAt(quantity, share * largest);
    const swatch = make("li", { class: "swatch", text: shownValue(quantity, Number(value.toPrecision(3))) });
    paint(swatch, quantity, value, largest);
    return swatch;
  });
  const name = withUnit(quantity, quantity.label + (quantity.unit ? "," : ""));
  return make("div", { class: "legend" }, make("span", { class: "quiet", text: name }), make("ul", { "aria-label": `Colours of ${name}` }, ...swatches));
}
