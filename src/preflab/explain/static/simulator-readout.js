// The figures at the point one stands on, in tiles, in sentences, and for screen readers once the sliders rest.

const REST = 700; // milliseconds without a change before the change is spoken

function showFigures(sim) {
  const { point, reference, pool } = sim;
  setText(byId("at-kl"), figure(point.kl.value));
  setText(byId("at-reward"), figure(point.reward.value));
  setText(byId("reward-change"), `${signed(point.reward.value - reference.reward.value)} vs the reference`);
  byId("criterion-tile").hidden = !sim.criterion;
  if (sim.criterion) {
    const { at } = sim.criterion;
    const now = point.criteria[at].value;
    setText(byId("criterion-name"), sim.label);
    setText(byId("at-criterion"), figure(now));
    const change = `${signed(now - reference.criteria[at].value)} vs the reference`;
    const silent = sim.unscored > 0 ? `; ${percent(sim.unscored)} of what is written got no score and is left out` : "";
    setText(byId("criterion-change"), `${change}${silent}`);
  }
  setText(byId("speaking"), whole(point.effective));
  setText(byId("speaking-of"), `of ${whole(pool.size)}`);
  byId("tiles").classList.toggle("unsure", point.doubts.length > 0);
}

function showSentences(sim, state) {
  const { role, text } = situation(sim);
  const said = byId("situation");
  said.className = `situation ${role}`;
  setText(said, text);
  const doubt = doubtText(sim, sim.point);
  byId("doubt").hidden = doubt === "";
  setText(byId("doubt"), doubt ? `Grey, because the pool is unsure of these figures: ${doubt}.` : "");
  const names = untried(sim, state);
  byId("untried").hidden = names.length === 0;
  const missing = "texts that such a reward would bring about may be missing from the pool";
  setText(byId("untried"), `May not reach: no pooled run was trained on ${listed(names)}, so ${missing}.`);
}

function showAroundChart(sim) {
  setText(byId("chart-title"), chartTitle(sim));
  setText(byId("parting"), partingText(sim));
  const rows = sim.data.runs.map((run) => [run.name, leftText(sim, run)]).filter(([, text]) => text);
  byId("left").hidden = rows.length === 0 && sim.data.runs.length === 0;
  const left = "What training left: how far each run's learned reward lies below the line, at the run's own KL.";
  const changed = "The reward has changed, so the runs' learned rewards, measured with their own, are not drawn.";
  setText(byId("left-lead"), rows.length ? left : sim.asTrained ? "" : changed);
  byId("left-list").replaceChildren(...rows.map(([name, text]) => make("li", {}, make("strong", {}, name), ` ${text}`)));
}

let resting = 0;

/** Say what changed when the sliders have rested. */
function speak(sim) {
  clearTimeout(resting);
  resting = setTimeout(() => {
    const { point } = sim;
    const gold = sim.criterion ? `, ${sim.label} ${figure(point.criteria[sim.criterion.at].value)}` : "";
    const unsure = point.doubts.length ? " The pool is unsure here." : "";
    const reach = byId("untried").hidden ? "" : " It may not reach what this reward would bring about.";
    const figures = `KL ${figure(point.kl.value)}, learned reward ${figure(point.reward.value)}${gold}`;
    const samples = `About ${whole(point.effective)} effective samples of ${whole(sim.pool.size)}.`;
    setText(byId("spoken"), `β ${betaText(point.beta)}: ${figures}. ${situation(sim).text} ${samples}${unsure}${reach}`);
  }, REST);
}
