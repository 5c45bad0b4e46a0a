// "Generate": one completion of the prompt drawn by its probability at this point, by a seeded generator.

/** Numbers from 0 to 1 from a whole number as seed (mulberry32). */
function seededNumbers(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let bits = Math.imul(state ^ (state >>> 15), 1 | state);
    bits = (bits + Math.imul(bits ^ (bits >>> 7), 61 | bits)) ^ bits;
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** The sample of prompt x at which the weights, added up, pass `share`. */
function drawSample(pool, weights, x, share) {
  let passed = 0;
  let last = -1;
  for (let i = pool.starts[x]; i < pool.starts[x + 1]; i += 1) {
    if (weights[i] <= 0) continue;
    last = i;
    passed += weights[i];
    if (passed > share) return i;
  }
  return last;
}

function bindGenerate(sim, state) {
  const next = seededNumbers(1);
  const drawn = byId("drawn");
  let times = 0;
  byId("generate").addEventListener("click", () => {
    const i = drawSample(sim.pool, sim.point.weights, state.prompt, next());
    if (i < 0) return;
    times += 1;
    const group = groupsOf(sim, state.prompt).find(({ first }) => first === sim.groups[i]);
    const writer = writerName(sim.data, sim.pool.policy[i]);
    const chances = `Probability here ${percent(group.share)}, under the reference ${percent(group.before)}.`;
    const facts = `Draw ${times}, β ${betaText(state.beta)}. ${chances} This sample was really written by ${writer}.`;
    drawn.replaceChildren(...textParts(sim.data.samples, i), make("p", { class: "facts" }, facts));
    drawn.hidden = false;
  });
}
