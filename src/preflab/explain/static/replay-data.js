// Reads the page's data: rows of both runs, their numbers unpacked when they are first asked for.
const page = JSON.parse(document.getElementById("data").textContent);
const runs = page.runs;

function unpackFloats(text) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  return Float32Array.from({ length: bytes.length / 4 }, (_, index) => view.getFloat32(4 * index, true));
}

for (const [index, run] of runs.entries()) {
  for (const row of run.rows) Object.assign(row, { run: index, unpacked: {}, skipped: new Set(row.unwritten) });
  run.steps = [...new Set(run.rows.map((row) => row.step))];
  run.curves = {};
}

// One number per token of a row on the page; null where the record has no such column.
function numbersOf(row, name) {
  if (!(name in row.per)) return null;
  row.unpacked[name] ??= unpackFloats(row.per[name]);
  return row.unpacked[name];
}

// The values of a metric, one per logged step, NaN where it was not logged; null where the run has no such metric.
function curveOf(run, name) {
  if (!(name in run.metrics.series)) return null;
  run.curves[name] ??= unpackFloats(run.metrics.series[name]);
  return run.curves[name];
}

function rowsOfStep(run, step) {
  return run.rows.filter((row) => row.step === step);
}

// The place of a token in the whole rollout, from its index among those on the page.
function placeOf(row, index) {
  return index < row.head ? index : index + row.gap;
}

// How many tokens the policy wrote.
const numWritten = (row) => row.tokens.length - row.skipped.size + row.gapWritten;

// The other side of a pair: the rejected completion of a chosen one.
function partnerOf(row) {
  if (row.side === undefined) return null;
  return runs[row.run].rows.find((each) => each.step === row.step && each.pair === row.pair && each.side !== row.side);
}

function sum(values) {
  let total = 0;
  for (const value of values) if (Number.isFinite(value)) total += value;
  return total;
}
