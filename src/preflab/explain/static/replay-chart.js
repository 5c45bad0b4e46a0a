// Draws curves over steps as SVG: axes, lines, alarms, the kept steps, the chosen step.
const EDGE = { left: 52, right: 14, top: 22, bottom: 40 };

function draw(tag, attributes, text) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

function roundStep(span, most) {
  const power = 10 ** Math.floor(Math.log10(span / most));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= (span / most) * 0.999);
}

function ticksWithin(low, high, step) {
  const ticks = [];
  for (let index = Math.ceil(low / step - 1e-9); index * step <= high + 1e-9 * step; index++) ticks.push(index * step);
  return ticks;
}

// The range of finite values, widened to round ticks and never empty.
function roundRange(values) {
  const finite = values.filter(Number.isFinite);
  let [low, high] = finite.length ? [Math.min(...finite), Math.max(...finite)] : [0, 1];
  if (high - low < 1e-9 * Math.max(1, Math.abs(high))) [low, high] = [low - Math.max(Math.abs(low) / 2, 0.5), high + Math.max(Math.abs(high) / 2, 0.5)];
  const step = roundStep(high - low, 4);
  return { low: Math.floor(low / step + 1e-9) * step, high: Math.ceil(high / step - 1e-9) * step, step };
}

// lines: [{xs, ys, role, label}]; marks: [{step, text}] of alarms; kept: steps with rollouts; at: the chosen step.
function drawChart(lines, { width, marks, kept, at, said }) {
  const height = 260;
  const steps = [...lines.flatMap((line) => line.xs), ...kept, ...marks.map((mark) => mark.step)];
  const [first, last] = steps.length ? [Math.min(...steps), Math.max(...steps)] : [0, 1];
  const y = roundRange(lines.flatMap((line) => [...line.ys]));
  const across = (step) => EDGE.left + ((step - first) / Math.max(1, last - first)) * (width - EDGE.left - EDGE.right);
  const up = (value) => height - EDGE.bottom - ((value - y.low) / (y.high - y.low)) * (height - EDGE.top - EDGE.bottom);
  const svg = draw("svg", { class: "chart trend", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": said });
  const base = height - EDGE.bottom;
  const decimals = Math.max(0, -Math.floor(Math.log10(y.step) + 1e-9));
  for (const tick of ticksWithin(y.low, y.high, y.step)) {
    svg.append(draw("line", { class: "grid", x1: EDGE.left, x2: width - EDGE.right, y1: up(tick), y2: up(tick) }));
    const text = decimals > 5 ? tick.toExponential(1) : tick.toFixed(decimals);
    svg.append(draw("text", { class: "end", x: EDGE.left - 6, y: up(tick) + 4 }, text.replace("-", "−")));
  }
  svg.append(draw("line", { class: "axis", x1: EDGE.left, x2: width - EDGE.right, y1: base, y2: base }));
  for (const tick of ticksWithin(first, last, Math.max(1, roundStep(Math.max(1, last - first), width / 80)))) {
    svg.append(draw("text", { class: "middle", x: across(tick), y: base + 20 }, String(tick)));
  }
  svg.append(draw("text", { class: "name end", x: width - EDGE.right, y: base + 35 }, "step; dots: kept steps"));
  for (const step of kept) svg.append(draw("circle", { class: "kept", cx: across(step), cy: base, r: 2.5 }));
  for (const mark of marks) {
    const x = across(mark.step);
    svg.append(draw("line", { class: "rule alarm", x1: x, x2: x, y1: EDGE.top - 4, y2: base }));
  }
  for (const { x, text } of joinedMarks(marks, across)) svg.append(draw("text", { class: "note alarm middle", x, y: EDGE.top - 8 }, text));
  for (const line of lines) svg.append(draw("path", { class: `line ${line.role}`, d: pathOf(line, across, up) }));
  for (const line of lines.filter((each) => each.label)) {
    const end = line.ys.findLastIndex(Number.isFinite);
    if (end >= 0) svg.append(draw("text", { class: "label end", x: across(line.xs[end]) - 4, y: up(line.ys[end]) - 8 }, line.label));
  }
  if (at !== null) {
    svg.append(draw("line", { class: "chosen", x1: across(at), x2: across(at), y1: EDGE.top, y2: base }));
    for (const line of lines.filter((each) => !each.role.includes("thin"))) {
      const index = line.xs.indexOf(at);
      if (index >= 0 && Number.isFinite(line.ys[index])) svg.append(draw("circle", { class: `dot ${line.role}`, cx: across(at), cy: up(line.ys[index]), r: 5 }));
    }
  }
  const stepAt = (x) => first + ((x - EDGE.left) / (width - EDGE.left - EDGE.right)) * (last - first);
  return { svg, stepAt };
}

// The labels of marks; those that would cover one another are joined.
function joinedMarks(marks, across) {
  const labels = [];
  for (const mark of [...marks].sort((one, other) => one.step - other.step)) {
    const last = labels.at(-1);
    if (last && across(mark.step) - last.end < 16) Object.assign(last, { text: `${last.text}, ${mark.text}`, end: across(mark.step) });
    else labels.push({ x: across(mark.step), end: across(mark.step), text: mark.text });
  }
  return labels.map(({ x, end, text }) => ({ x: (x + end) / 2, text }));
}

function pathOf(line, across, up) {
  let [path, pen] = ["", "M"];
  line.xs.forEach((step, index) => {
    if (!Number.isFinite(line.ys[index])) return;
    path += `${pen}${across(step).toFixed(1)},${up(line.ys[index]).toFixed(1)}`;
    pen = "L";
  });
  return path;
}
