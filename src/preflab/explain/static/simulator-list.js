// One prompt's completions, equal texts as one, sorted by their probability at the point one stands on.

const SHOWN = matchMedia("(max-width: 640px)").matches ? 5 : 8; // completions before the rest is asked for
const LONGEST = 500; // characters of a text before it is folded

/** The groups of equal texts of a prompt, with probability here and under the reference, highest first. */
function groupsOf(sim, x) {
  const { pool, groups, data, point, reference } = sim;
  const found = new Map();
  for (let i = pool.starts[x]; i < pool.starts[x + 1]; i += 1) {
    const first = groups[i];
    if (!found.has(first)) found.set(first, { first, share: 0, before: 0, writers: new Map() });
    const group = found.get(first);
    group.share += point.weights[i];
    group.before += reference.weights[i];
    const writer = writerName(data, pool.policy[i]);
    group.writers.set(writer, (group.writers.get(writer) ?? 0) + 1);
  }
  return [...found.values()].sort((one, other) => other.share - one.share || one.first - other.first);
}

/** The list of a prompt; its items are kept and moved, so that one sees which text rises. */
class CompletionList {
  constructor(list, more) {
    this.list = list;
    this.more = more;
    this.items = new Map();
    this.prompt = -1;
    this.all = false;
    this.still = matchMedia("(prefers-reduced-motion: reduce)");
    more.addEventListener("click", () => {
      this.all = !this.all;
      this.show(this.sim, this.prompt);
    });
  }

  show(sim, x) {
    if (x !== this.prompt || sim.data !== this.sim?.data) this.items.clear();
    this.sim = sim;
    this.prompt = x;
    const groups = groupsOf(sim, x);
    const shown = this.all ? groups : groups.slice(0, SHOWN);
    const places = this.still.matches ? new Map() : this.placesNow();
    const elements = shown.map((group) => this.item(group));
    if (elements.length !== this.list.children.length || elements.some((each, j) => this.list.children[j] !== each)) {
      this.list.replaceChildren(...elements);
      this.glide(places);
    }
    this.countRest(groups.slice(SHOWN));
  }

  placesNow() {
    return new Map([...this.list.children].map((each) => [each, each.offsetTop]));
  }

  /** Items that changed places glide there. */
  glide(places) {
    for (const [element, before] of places) {
      const by = before - element.offsetTop;
      if (!element.isConnected || by === 0) continue;
      const course = [{ transform: `translateY(${by}px)` }, { transform: "none" }];
      element.animate(course, { duration: 180, easing: "ease-out" });
    }
  }

  countRest(rest) {
    this.more.hidden = rest.length === 0;
    const share = rest.reduce((sum, group) => sum + group.share, 0);
    const others = `Show ${plural(rest.length, "other completion")}, ${percent(share)} together`;
    setText(this.more, this.all ? `Show only the first ${SHOWN}` : others);
  }

  item(group) {
    if (!this.items.has(group.first)) this.items.set(group.first, makeItem(this.sim, group));
    const { element, bar, tick, share, facts } = this.items.get(group.first);
    bar.style.width = `${(100 * group.share).toFixed(2)}%`;
    tick.style.left = `${(100 * group.before).toFixed(2)}%`;
    setText(share, `${percent(group.share)}`);
    setText(facts, factsText(this.sim, group));
    return element;
  }
}

function makeItem(sim, group) {
  const bar = make("span", { class: "bar" });
  const tick = make("span", { class: "tick" });
  const share = make("span", { class: "percent" });
  const facts = make("p", { class: "facts" });
  const head = make("div", { class: "share" }, share, make("span", { class: "track", "aria-hidden": "true" }, bar, tick));
  const element = make("li", { class: "completion" }, head, ...textParts(sim.data.samples, group.first), facts);
  return { element, bar, tick, share, facts };
}

/** A completion as it was written: whole, in its own direction; a long one is folded until asked for. */
function textParts(samples, i) {
  const text = samples.text[i];
  if (text === "") return [make("p", { class: "nothing" }, "(empty)")];
  const shown = make("p", { class: "text", dir: "auto" }, text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text);
  const cut = samples.finished[i] ? [] : [make("p", { class: "facts" }, "Cut at the length limit.")];
  if (text.length <= LONGEST) return [shown, ...cut];
  const unfold = make("button", { type: "button", class: "plain" }, `Show all ${plural(samples.num_tokens[i], "token")}`);
  unfold.addEventListener("click", () => {
    shown.textContent = text;
    unfold.remove();
  });
  return [shown, unfold, ...cut];
}

/** A policy's name; the first is the reference. */
const writerName = (data, policy) => (policy === 0 ? `the reference (${data.policies[0]})` : data.policies[policy]);

/** In place of a score: a failed text counts as the criterion's value for failing. */
const noScoreText = (fail) => (isNumber(fail) ? `fails (${figure(fail)})` : "gave none");

function factsText(sim, group) {
  const parts = [`learned reward ${figure(sim.question.values[0][group.first])}`];
  if (sim.criterion) {
    const value = sim.given[sim.criterion.at][group.first];
    parts.push(`${sim.label} ${value === null ? noScoreText(sim.criterion.fail) : figure(value)}`);
  }
  const writers = [...group.writers].map(([name, times]) => (times > 1 ? `${name} ${times}×` : name));
  return `${parts.join(" · ")} · reference gives it ${percent(group.before)} · sampled from ${writers.join(", ")}`;
}
