// Sliders and fields: they change the state and say so.

const STEPS = 200; // positions of the β slider; one more means the reference only

const betaAt = (sim, position) => (position > STEPS ? Infinity : sim.low * (sim.high / sim.low) ** (position / STEPS));

function positionOf(sim, beta) {
  if (beta === Infinity) return STEPS + 1;
  const share = Math.log(beta / sim.low) / Math.log(sim.high / sim.low);
  return Math.round(STEPS * Math.max(0, Math.min(1, share)));
}

/** A labelled slider with its value in words beside it; `words` makes them. */
function makeSlider({ id, label, least, most, step, value, words, onInput }) {
  const input = make("input", { type: "range", id, min: least, max: most, step, value });
  const output = make("output", { for: id });
  const show = () => {
    setText(output, words(Number(input.value)));
    input.setAttribute("aria-valuetext", output.textContent);
  };
  input.addEventListener("input", () => {
    show();
    onInput(Number(input.value));
  });
  show();
  const element = make("div", { class: "slider" }, make("label", { for: id }, label), output, input);
  return { element, set: (now) => { input.value = now; show(); } };
}

function bindBeta(sim, state, changed) {
  const slider = byId("beta");
  const number = byId("beta-number");
  const show = (typing) => {
    slider.value = positionOf(sim, state.beta);
    slider.setAttribute("aria-valuetext", betaText(state.beta));
    if (!typing) number.value = state.beta === Infinity ? "" : Number(state.beta.toPrecision(3));
  };
  slider.max = STEPS + 1;
  const go = (beta, typing = false) => {
    state.beta = beta;
    show(typing);
    changed();
  };
  slider.addEventListener("input", () => go(betaAt(sim, Number(slider.value))));
  number.addEventListener("input", () => {
    const beta = Number(number.value);
    number.setAttribute("aria-invalid", String(!(beta > 0)));
    if (beta > 0) go(beta, true);
  });
  number.addEventListener("change", () => {
    number.setAttribute("aria-invalid", "false");
    if (number.value !== "" && Number(number.value) === 0) go(sim.low); // no penalty: the smallest that is shown
    else show();
  });
  const runs = sim.data.policy_info.filter(({ kl_coef: own }) => own > 0);
  const places = runs.map(({ name, kl_coef: own }) => [`${name} ${coefficient(own)}`, own]);
  places.push(["almost none", sim.low], ["reference only", Infinity]);
  places.sort((one, other) => one[1] - other[1]);
  byId("places").append(...places.map(([label, beta]) => {
    const button = make("button", { type: "button", class: "chip" }, label);
    button.addEventListener("click", () => go(beta));
    return button;
  }));
  show();
  return go;
}

/** The sliders of the reward: a weight per term, the flaws, reversed labelers. Returns what resets them. */
function bindReward(sim, state, changed) {
  const sliders = [];
  const add = (holder, options, after = null) => {
    const slider = makeSlider(options);
    sliders.push(slider);
    byId(holder).append(slider.element, ...(after ? [after] : []));
    return slider;
  };
  const resets = [];
  sim.data.terms.forEach(({ name, weight, source }, t) => {
    const other = spreadWithin(sim.pool, sim.terms[t]);
    const reach = weight !== 0 ? 3 * Math.abs(weight) : (2 * sim.spread) / (other || 1);
    const [least, most] = weight > 0 ? [0, reach] : weight < 0 ? [-reach, 0] : [-reach, reach];
    const slider = add("weights", {
      id: `weight-${t}`,
      label: termLabel(name, source),
      least, most, step: (most - least) / 60, value: weight,
      words: (value) => `weight ${coefficient(near(value, weight, reach))}`,
      onInput: (value) => { state.weights[t] = near(value, weight, reach); changed(); },
    });
    resets.push(() => slider.set(weight));
  });
  for (const flaw of sim.flaws) {
    const slider = add("flaws", {
      id: `flaw-${flaw.name}`,
      label: flaw.label,
      least: flaw.least, most: flaw.most, step: (flaw.most - flaw.least) / 80, value: 0,
      words: (value) => (near(value, 0, flaw.most) === 0 ? "off" : `${signed(value)} ${flaw.unit}`),
      onInput: (value) => { state.strengths[flaw.name] = near(value, 0, flaw.most); changed(); },
    }, fieldOf(flaw.name, state, changed, resets));
    resets.push(() => slider.set(0));
  }
  if (sim.learned.some(Boolean)) {
    const slider = add("flaws", {
      id: "reversed", label: "reversed labelers", least: 0, most: 100, step: 5, value: 0,
      words: (value) => (value ? `${value} % answer the wrong way round` : "off"),
      onInput: (value) => { state.reversed = value / 100; changed(); },
    });
    resets.push(() => slider.set(0));
  }
  byId("reset").addEventListener("click", () => {
    Object.assign(state, plainReward(sim));
    resets.forEach((reset) => reset());
    changed();
  });
}

/** A term's name and where it comes from, once if one says the other. */
function termLabel(name, source) {
  if (!source || source === name) return name;
  return source.split(" ").includes(name) ? source : `${name} (${source})`;
}

/** A slider's value, drawn to `home` when it is as good as there. */
const near = (value, home, reach) => (Math.abs(value - home) < 1e-6 * Math.abs(reach) ? home : value);

/** The words that a flaw loves, to be edited; null for a flaw without. */
function fieldOf(name, state, changed, resets) {
  const property = { flattery: "phrases", word: "word" }[name];
  if (!property) return null;
  const label = name === "flattery" ? "Flattering words, with commas" : "The word";
  const id = `${name}-words`;
  const several = name === "flattery";
  const attributes = { id, rows: several ? 2 : null, spellcheck: "false", autocomplete: "off" };
  const input = make(several ? "textarea" : "input", attributes);
  input.value = state[property];
  input.addEventListener("input", () => {
    state[property] = input.value;
    if (state.strengths[name] !== 0) changed();
  });
  resets.push(() => { input.value = state[property]; });
  return make("div", { class: "field" }, make("label", { for: id }, label), input);
}

/** Choosing the prompt: a list, one back, one on. */
function bindPrompts(sim, state, changed) {
  const choice = byId("prompt");
  const { pool } = sim;
  const all = sim.data.prompts.map((prompt, x) => ({ ...prompt, x }));
  const there = all.filter(({ x }) => pool.starts[x + 1] > pool.starts[x]);
  state.prompt = there[0].x;
  const short = (text) => (text.length > 90 ? `${text.slice(0, 90)}…` : text || "(empty)");
  choice.append(...there.map(({ text, x }, place) => make("option", { value: x }, `${place + 1}. ${short(text)}`)));
  const go = (place) => {
    choice.selectedIndex = place;
    state.prompt = there[place].x;
    changed();
  };
  choice.addEventListener("change", () => go(choice.selectedIndex));
  byId("previous").addEventListener("click", () => go((choice.selectedIndex + there.length - 1) % there.length));
  byId("next").addEventListener("click", () => go((choice.selectedIndex + 1) % there.length));
  if (there.length === 1) byId("previous").disabled = byId("next").disabled = true;
}

function bindCriterion(sim, state, changed) {
  const choice = byId("criterion");
  byId("criterion-choice").hidden = sim.data.criteria.length < 2;
  choice.append(...sim.data.criteria.map(({ label }, c) => make("option", { value: c }, label)));
  choice.addEventListener("change", () => {
    state.criterion = choice.selectedIndex;
    changed();
  });
}
