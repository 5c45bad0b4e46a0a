// "Write new text with the model": decoded token by token by the command that serves the page (`simulate --live`).

const WIDE = 3; // nats of log-ratio at which a token has its full colour
const MOST_NAMED = 3; // tokens named in the sentence below a text

/** The run whose penalty is nearest to β, and α = its penalty / β; at β = ∞ the reference alone, α = 0. */
function mixtureAt(live, beta) {
  const away = (run) => Math.abs(Math.log(run.kl_coef / beta));
  if (beta === Infinity) return { run: live.runs[0], alpha: 0 };
  const run = live.runs.reduce((best, each) => (away(each) < away(best) ? each : best));
  return { run, alpha: run.kl_coef / beta };
}

/** Why nothing can be written at this point; "" if it can. */
function whyNotLive(sim, { run, alpha }) {
  const { most } = sim.data.live;
  if (!sim.asTrained) {
    return "Off: you have changed the reward, and no run was trained on the changed one. Reset the reward to write.";
  }
  if (alpha <= most) return "";
  const far = `this penalty is ${whole(alpha)} times smaller than that of ${run.name}`;
  return `Off: ${far}. The mixture reaches ${whole(most)} times; choose a larger one.`;
}

function mixtureText(sim, { run, alpha }, beta) {
  const reference = sim.data.policies[0];
  if (alpha === 0) return `Writes with ${reference} alone.`;
  if (alpha === 1) return `Writes with ${run.name} itself, whose penalty this is.`;
  const where = alpha < 1 ? `between ${reference} and ${run.name}` : `beyond ${run.name}, away from ${reference}`;
  const share = `α = ${coefficient(run.kl_coef)} / ${coefficient(beta)} = ${coefficient(alpha)}`;
  return (
    `Mixes the logits of both models, ${share}, the penalty of ${run.name} over this one: ${where}. ` +
    "An approximation, made token by token: the bars are for whole completions."
  );
}

/** How often likelier or rarer a token is than under the reference, in words. */
function ratioText(logRatio) {
  const times = Math.exp(Math.abs(logRatio));
  if (times < 1.05) return "as likely as under the reference";
  const size = times >= 1000 ? "over 1,000" : figure(times);
  return `${size} times ${logRatio > 0 ? "likelier" : "rarer"} than under the reference`;
}

function tokenElement({ text, log_ratio: logRatio }) {
  const strength = Math.min(1, Math.abs(logRatio) / WIDE);
  const side = Math.abs(logRatio) < 0.05 ? "same" : logRatio > 0 ? "likelier" : "rarer";
  const token = make("span", { class: `live-token ${side}`, title: ratioText(logRatio) }, text);
  token.style.setProperty("--strength", strength.toFixed(2));
  return token;
}

function quoted({ text, ends }) {
  if (text.trim() !== "") return `“${text.trim()}”`;
  return ends ? "the end" : "a space";
}

/** The tokens that differ most from the reference, as a sentence. */
function strikingText(tokens) {
  const size = (token) => Math.abs(token.log_ratio);
  const sorted = tokens.filter((token) => size(token) >= 0.05).sort((one, other) => size(other) - size(one));
  if (sorted.length === 0) return "Every token is as likely as under the reference.";
  const times = (token) => ratioText(token.log_ratio).replace(" than under the reference", "");
  const named = sorted.slice(0, MOST_NAMED).map((token) => `${quoted(token)}, ${times(token)}`);
  return `Farthest from the reference: ${listed(named)}.`;
}

function tokenTable(tokens) {
  const names = ["token", "log-ratio, nats", "probability"].map((name) => make("th", { scope: "col" }, name));
  const number = (text) => make("td", { class: "numeric" }, text);
  const rows = tokens.map((token) => {
    const figures = [figure(token.log_ratio), percent(Math.exp(token.logp))];
    return make("tr", {}, make("td", {}, quoted(token)), ...figures.map(number));
  });
  const table = make("table", {}, make("thead", {}, make("tr", {}, ...names)), make("tbody", {}, ...rows));
  const box = make("div", { class: "scroll" }, table);
  return make("details", {}, make("summary", {}, "Every token in numbers"), box);
}

function scoresText(sim, end) {
  const parts = [`learned reward ${figure(end.reward)}`];
  for (const { name, label, fail } of sim.data.criteria) {
    const value = end.criteria[name];
    parts.push(`${label} ${value === null || value === undefined ? noScoreText(fail) : figure(value)}`);
  }
  return `${parts.join(" · ")} · log-ratio of the whole text ${figure(end.log_ratio)} nats`;
}

/** The objects of a response that has one per line. */
async function* linesOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) yield JSON.parse(line);
  }
}

/** The text that is being written, and what is said about it. */
class LiveText {
  constructor(sim) {
    this.sim = sim;
    this.tokens = [];
    byId("live-tokens").replaceChildren();
    byId("live-more").replaceChildren();
    byId("live-text").hidden = false;
    byId("live-tokens").setAttribute("aria-busy", "true");
    this.say("Writing …");
  }

  say(text, alarm = false) {
    const said = byId("live-facts");
    said.classList.toggle("missing", alarm);
    setText(said, text);
  }

  take(event) {
    if (event.kind === "token") {
      this.tokens.push(event);
      byId("live-tokens").append(tokenElement(event));
    } else if (event.kind === "end") this.end(event);
    else this.fail(`${event.found}. ${event.do}.`);
  }

  end(event) {
    this.ended = true;
    if (event.finish_reason === "stop" && this.tokens.length) this.tokens.at(-1).ends = true;
    const cut = event.finish_reason === "stop" ? "" : " Cut at the length limit.";
    const empty = byId("live-tokens").textContent === "";
    if (empty) byId("live-tokens").append(make("span", { class: "nothing" }, "(empty)"));
    this.say(`${scoresText(this.sim, event)}.${cut} ${strikingText(this.tokens)}`);
    byId("live-more").replaceChildren(tokenTable(this.tokens));
  }

  fail(text) {
    this.ended = true;
    this.say(text, true);
  }

  close() {
    byId("live-tokens").removeAttribute("aria-busy");
    if (this.ended) return;
    this.say(`Stopped after ${plural(this.tokens.length, "token")}; a text that is not whole gets no scores.`);
  }
}

async function writeLive(sim, wanted, signal) {
  const { url, token } = sim.data.live;
  const text = new LiveText(sim);
  try {
    const headers = { "Content-Type": "application/json", "X-Preflab-Key": token };
    const response = await fetch(url, { method: "POST", headers, body: JSON.stringify(wanted), signal });
    if (response.ok) for await (const event of linesOf(response)) text.take(event);
    else text.take(await response.json());
  } catch (error) {
    const why = `The command that serves this page does not answer (${error.message}).`;
    if (!signal.aborted) text.fail(`${why} Start it again and open its link.`);
  } finally {
    text.close();
  }
}

/** The button and what it writes; returns what shows the button's state at the point one stands on. */
function bindLive(sim, state) {
  if (!sim.data.live) return () => {};
  const write = byId("live-write");
  const stop = byId("live-stop");
  let running = null;
  const show = () => {
    const mixture = mixtureAt(sim.data.live, state.beta);
    const why = whyNotLive(sim, mixture);
    write.disabled = why !== "" || running !== null;
    stop.hidden = running === null;
    setText(byId("live-about"), why || mixtureText(sim, mixture, state.beta));
  };
  write.addEventListener("click", async () => {
    const { run, alpha } = mixtureAt(sim.data.live, state.beta);
    const seed = crypto.getRandomValues(new Uint32Array(1))[0];
    running = new AbortController();
    show();
    stop.focus();
    await writeLive(sim, { prompt: sim.data.prompts[state.prompt].id, run: run.name, alpha, seed }, running.signal);
    running = null;
    const returns = document.activeElement === stop || document.activeElement === document.body;
    show();
    if (returns) write.focus();
  });
  stop.addEventListener("click", () => running?.abort());
  const leave = () => {
    running?.abort();
    byId("live-text").hidden = true;
  };
  byId("prompt").addEventListener("change", leave);
  for (const id of ["previous", "next"]) byId(id).addEventListener("click", leave);
  show();
  return show;
}
