// The chart: learned reward and one criterion against KL, where one stands, trained runs, and where the lines part.

const EDGE = { top: 18, bottom: 44, left: 40, right: 40 };
const ROW = 15;

/** Draw into `holder`; `layout` has the scales that the parts share. */
function drawChart(holder, sim) {
  const layout = chartLayout(sim, Math.max(280, Math.min(640, holder.clientWidth || 560)));
  const box = `0 0 ${layout.width} ${layout.height}`;
  const svg = draw("svg", { class: "chart", viewBox: box, role: "img", "aria-label": chartLabel(sim) });
  svg.append(...axes(layout), ...runTicks(layout));
  if (sim.parting) svg.append(...upright(layout, sim.parting.point.kl.value, "alarm rule", "the lines part", 2));
  for (const series of layout.series) svg.append(...band(layout, series), ...lines(layout, series));
  for (const series of layout.series) svg.append(...runDots(layout, series));
  svg.append(...leftByTraining(layout));
  svg.append(...standpoint(layout, sim), ...endLabels(layout));
  holder.replaceChildren(svg);
}

function chartLabel(sim) {
  return `${chartTitle(sim)}. ${partingText(sim)} The numbers are in the table below.`;
}

/** Series in units of their spread around the reference, scales, and the runs' names in rows. */
function chartLayout(sim, width) {
  const series = seriesOf(sim);
  const runs = sim.data.runs.filter(({ kl }) => isNumber(kl?.value));
  const farthest = Math.max(0.01, ...sim.curve.map(({ kl }) => kl.value), ...runs.map(({ kl }) => kl.high ?? kl.value));
  const names = placeNames(runs, width, farthest);
  const top = EDGE.top + ROW * (names.rows + 2);
  const height = top + 250 + EDGE.bottom;
  const levels = series.flatMap(({ points, dots, level }) => [
    ...points.map(({ value }) => level(value)),
    ...dots.flatMap(({ value, low, high }) => [level(low ?? value), level(high ?? value)]),
  ]);
  const ends = [Math.min(-0.3, ...levels.filter(Number.isFinite)), Math.max(0.3, ...levels.filter(Number.isFinite))];
  const margin = 0.08 * (ends[1] - ends[0]); // room for the lines' names above and below their ends
  const [low, high] = [ends[0] - margin, ends[1] + margin];
  const x = (kl) => EDGE.left + (width - EDGE.left - EDGE.right) * Math.sqrt(Math.max(0, kl) / farthest);
  const y = (level) => height - EDGE.bottom - ((level - low) / (high - low)) * (height - EDGE.bottom - top);
  return { series, runs, names, width, height, top, low, high, farthest, x, y };
}

/** The reward's line and the criterion's: points, runs' dots, and `level`, a value as spreads above the reference. */
function seriesOf(sim) {
  const { spreads } = sim.question;
  const rows = [{ role: "reward", label: "learned reward", of: (point) => point.reward, spread: spreads[0] }];
  if (sim.criterion) {
    const { at } = sim.criterion;
    rows.push({ role: "gold", label: sim.label, of: (point) => point.criteria[at], spread: spreads[1 + at] });
  }
  return rows.map((row) => {
    const start = row.of(sim.reference).value;
    const unit = row.spread > 1e-9 ? row.spread : 1;
    const points = sim.curve
      .map((point) => ({ kl: point.kl.value, ...row.of(point), unsure: point.doubts.length > 0 }))
      .filter(({ value }) => Number.isFinite(value));
    const runs = row.role === "gold" || sim.asTrained ? sim.data.runs : [];
    const dots = runs
      .map((run) => ({ name: run.name, kl: run.kl, ...row.of(run) }))
      .filter(({ value, kl }) => isNumber(value) && isNumber(kl?.value));
    return { ...row, start, unit, level: (value) => (value - start) / unit, points, dots };
  });
}

function placeNames(runs, width, farthest) {
  const ends = [];
  const placed = [...runs].sort((one, other) => one.kl.value - other.kl.value).map((run) => {
    const middle = EDGE.left + (width - EDGE.left - EDGE.right) * Math.sqrt(run.kl.value / farthest);
    const half = 3.4 * run.name.length + 4;
    const at = Math.max(half, Math.min(width - half, middle));
    let row = ends.findIndex((end) => end < at - half);
    if (row < 0) row = ends.length;
    ends[row] = at + half;
    return { run, middle, at, row };
  });
  return { placed, rows: ends.length };
}

function axes(layout) {
  const { width, height, top, low, high, x, y, series, farthest } = layout;
  const parts = [];
  const floor = height - EDGE.bottom;
  parts.push(draw("line", { class: "grid", x1: x(0), x2: x(farthest), y1: y(0), y2: y(0) }));
  series.forEach(({ role, label, start, unit }, s) => {
    const at = s === 0 ? EDGE.left - 6 : width - EDGE.right + 6;
    for (const tick of ticks(start + low * unit, start + high * unit, 8)) {
      const height = y((tick - start) / unit);
      if (s === 0) parts.push(draw("line", { class: "grid", x1: x(0), x2: x(farthest), y1: height, y2: height }));
      parts.push(draw("text", { class: `${role} ${s === 0 ? "end" : ""}`, x: at, y: height + 4 }, tickText(tick)));
    }
    parts.push(draw("text", { class: `${role} ${s === 0 ? "" : "end"}`, x: s === 0 ? 0 : width, y: top - 8 }, label));
  });
  parts.push(draw("line", { class: "axis", x1: x(0), x2: x(farthest), y1: floor, y2: floor }));
  let end = -Infinity;
  for (const tick of rootTicks(farthest)) {
    if (x(tick) - end < 26) continue;
    end = x(tick);
    parts.push(draw("line", { class: "axis", x1: end, x2: end, y1: floor, y2: floor + 4 }));
    parts.push(draw("text", { class: "middle", x: end, y: floor + 17 }, tickText(tick)));
  }
  const name = "KL to the reference, nats (√ scale); smaller β →";
  parts.push(draw("text", { class: "middle", x: (x(0) + x(farthest)) / 2, y: height - 6 }, name));
  return parts;
}

const tickText = (tick) => String(Number(tick.toPrecision(6))).replace("-", "−");

/** Round values between two ends, about `count` of them. */
function ticks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= rough);
  const found = [];
  for (let j = Math.ceil(low / step - 1e-9); j * step <= high + 1e-9 * step; j += 1) found.push(j * step);
  return found;
}

/** 0 and round values that a square root spreads well: 1, 2, 5, … times powers of ten. */
function rootTicks(high) {
  const found = [0];
  for (let power = -2; 10 ** power <= high; power += 1) found.push(...[1, 2, 5].map((factor) => factor * 10 ** power));
  return found.filter((tick) => tick === 0 || (tick <= high && tick > high / 400));
}

function runTicks({ names, top, height }) {
  return names.placed.flatMap(({ run, middle, at, row }) => [
    draw("line", { class: "grid", x1: middle, x2: middle, y1: ROW * (row + 1) - 2, y2: height - EDGE.bottom }),
    draw("text", { class: "middle policy label-of-run", x: at, y: ROW * (row + 1) - 4 }, run.name),
  ]);
}

const spot = (x, y) => `${x.toFixed(1)},${y.toFixed(1)}`;

/** Where the line is sure, its 95 % Monte Carlo band. */
function band({ x, y }, { role, points, level }) {
  return stretches(points).filter(({ unsure }) => !unsure).map(({ points: part }) => {
    const edge = (sign) => part.map(({ kl, value, error }) => spot(x(kl), y(level(value + sign * INTERVAL * error))));
    return draw("polygon", { class: `band ${role}`, points: [...edge(1), ...edge(-1).reverse()].join(" ") });
  });
}

function lines({ x, y }, { role, points, level }) {
  return stretches(points).map(({ points: part, unsure }) => draw("polyline", {
    class: unsure ? `line unsure ${role}-unsure` : `line ${role}`,
    points: part.map(({ kl, value }) => spot(x(kl), y(level(value)))).join(" "),
  }));
}

/** Runs of points that are all sure or all unsure; an unsure run begins at the last sure point. */
function stretches(points) {
  const found = [];
  for (let j = 1; j < points.length; j += 1) {
    const unsure = points[j - 1].unsure || points[j].unsure;
    if (found.at(-1)?.unsure !== unsure) found.push({ unsure, points: [points[j - 1]] });
    found.at(-1).points.push(points[j]);
  }
  return found;
}

/** Trained runs: dots with 95 % intervals. */
function runDots(layout, { role, dots, level }) {
  const { x, y } = layout;
  const whisker = (x1, x2, y1, y2) => draw("line", { class: `whisker ${role}`, x1, x2, y1, y2 });
  return dots.flatMap(({ name, kl, value, low, high }) => {
    const [cx, cy] = [x(kl.value), y(level(value))];
    const title = draw("title", {}, `${name}: ${figure(value)} at KL ${figure(kl.value)}`);
    return [
      whisker(cx, cx, y(level(low ?? value)), y(level(high ?? value))),
      whisker(x(kl.low ?? kl.value), x(kl.high ?? kl.value), cy, cy),
      draw("circle", { class: `dot ${role}`, cx, cy, r: 5 }, title),
    ];
  });
}

/** From each dot of the learned reward up to the line: what training left; the longest is named. */
function leftByTraining({ series, x, y, width }) {
  const [{ dots, level, points }] = series;
  const gaps = dots
    .map(({ kl, value }) => ({ x1: x(kl.value), y1: y(level(value)) - 5, y2: y(level(valueAtKl(points, kl.value))) }))
    .filter(({ y1, y2 }) => y1 - y2 > 3);
  const marks = gaps.map(({ x1, y1, y2 }) => draw("line", { class: "left-by-training", x1, x2: x1, y1, y2 }));
  const [longest] = gaps.sort((one, other) => other.y1 - other.y2 - (one.y1 - one.y2));
  if (!longest || longest.y1 - longest.y2 < 10) return marks;
  const left = longest.x1 > 0.6 * width;
  const place = { class: `note reward ${left ? "end" : ""}`, x: longest.x1 + (left ? -8 : 8), y: longest.y1 + 9 };
  return [...marks, draw("text", place, "left by training")];
}

/** A line's value at a KL, between its points; NaN outside. */
function valueAtKl(points, kl) {
  for (let j = 1; j < points.length; j += 1) {
    const [one, other] = [points[j - 1], points[j]];
    if (kl < Math.min(one.kl, other.kl) || kl > Math.max(one.kl, other.kl)) continue;
    const share = other.kl === one.kl ? 0 : (kl - one.kl) / (other.kl - one.kl);
    return one.value + share * (other.value - one.value);
  }
  return NaN;
}

/** An upright line at a KL; its label stands above the plot, `row` rows over the axes' names. */
function upright({ x, top, width, height }, kl, style, label, row) {
  const at = x(kl);
  const left = at > 0.6 * width;
  const level = top - 8 - ROW * row;
  return [
    draw("line", { class: `line ${style}`, x1: at, x2: at, y1: level - 10, y2: height - EDGE.bottom }),
    draw("text", { class: `note ${style.split(" ")[0]} ${left ? "end" : ""}`, x: at + (left ? -6 : 6), y: level }, label),
  ];
}

function standpoint(layout, sim) {
  const { x, y, series } = layout;
  const { point } = sim;
  const seen = series.filter(({ of }) => Number.isFinite(of(point).value));
  const cx = x(point.kl.value);
  const marks = seen.map(({ of, level, role }) =>
    draw("circle", { class: `here ${role}`, cx, cy: y(level(of(point).value)), r: 7 }));
  const place = point.beta === Infinity ? "reference only" : `β ${betaText(point.beta)}`;
  return [...upright(layout, point.kl.value, "ink", `you are here, ${place}`, 1), ...marks];
}

/** The lines' names shortly before their ends, where dots are few: above the upper line, below the lower one. */
function endLabels({ series, x, y }) {
  const placed = series.filter(({ points }) => points.length).map(({ points, level, label, role }) => {
    const last = points.at(-1);
    const point = points.findLast(({ kl }) => x(kl) < x(last.kl) - 40) ?? last;
    return { label, role, across: x(point.kl), down: y(level(point.value)) };
  });
  placed.sort((one, other) => one.down - other.down);
  return placed.map(({ label, role, across, down }, j) =>
    draw("text", { class: `label ${role} end`, x: across, y: j === 0 ? down - 6 : down + 14 }, label));
}
