// The page comes to life: read the data, compute, show, listen.

function startSimulator() {
  const sim = makeModel(JSON.parse(byId("data").textContent));
  const state = startingState(sim);
  const list = new CompletionList(byId("completions"), byId("more"));
  let showLive = () => {};
  const showPrompt = () => {
    setText(byId("prompt-text"), sim.data.prompts[state.prompt].text || "(empty)");
    byId("drawn").hidden = true;
    list.show(sim, state.prompt);
  };
  const showPoint = () => {
    showFigures(sim);
    showSentences(sim, state);
    showLive();
    list.show(sim, state.prompt);
    if (!byId("lab").hidden) drawChart(byId("chart"), sim);
    speak(sim);
  };
  const showCurve = () => {
    showAroundChart(sim);
    showTables(sim);
    showPoint();
  };
  const pointChanged = () => {
    setPoint(sim, state);
    showPoint();
  };
  const rewardChanged = () => {
    setReward(sim, state);
    showCurve();
  };
  setReward(sim, state);
  const goBeta = bindBeta(sim, state, pointChanged);
  bindReward(sim, state, rewardChanged);
  bindPrompts(sim, state, showPrompt);
  bindCriterion(sim, state, () => {
    setPoint(sim, state);
    showCurve();
  });
  bindGenerate(sim, state);
  showLive = bindLive(sim, state);
  byId("numbers").addEventListener("toggle", () => showTables(sim));
  new ResizeObserver(() => drawChart(byId("chart"), sim)).observe(byId("chart"));
  bindPrediction(sim, (beta) => {
    byId("lab").hidden = false;
    if (beta !== null) goBeta(beta);
    showCurve();
  });
  showPrompt();
  document.documentElement.classList.add("scripted");
}

if (byId("data")) startSimulator();
