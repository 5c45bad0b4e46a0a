"""The page of `preflab dial`: what each setting costs and gives, beside trained runs and the best possible curve.

It is made from dial.json:

{"schema": 1, "made_by", "run": {"name", "kind", "key", "finished", "kl_coef"}, "averaged": [name],
 "averaged_runs": [as "run"], "scales": "adapter" | "weights", "reference",
 "prompts": {"name", "num", "num_completions"}, "decoding", "seed", "judges": {name: function},
 "notes": [sentence],
 "points": [{"setting", "weights", "figures": {measure: interval}, "difference": {measure: interval with "p_holm"}}],
 "runs": [{"name", "kind", "kl_coef", "weights", "figures": {measure: interval}}],
 "optimum": {"num_prompts", "num_completions", "curves": {measure: [{"beta", "value", "kl", "effective"}]}}}

`difference` is the setting minus setting 1 on the same prompts; `p_holm` is corrected over the settings of a measure.
"""

from __future__ import annotations

import math
from typing import Any

from preflab.report.blocks import Answer, Cell, Figure, Grid, Note, Section, Table, numbers
from preflab.report.charts import Line, line_chart
from preflab.report.frontier import X
from preflab.report.measures import measure_name, measure_order, measure_title, quantity
from preflab.report.page import render_page
from preflab.report.run_folders import place_role
from preflab.words import count, difference_sentence, interval_text, intervals, is_found, listed, number, or_nan

KL, DISTINCT = "kl/exact", "distinct/2"
WORTH = ("judge/", "reward/")
MOST = 1.5
"""The highest setting of a dial."""
FAR = 2.0
"""A run this many times as far away as everything else is named in the caption, not drawn."""
Data = dict[str, Any]


def dial_page(data: Data) -> str:
    """The page as HTML; it opens offline and has no scripts."""
    reads = f"{count(data['prompts']['num'], _prompt_words(data))}, {data['made_by']}"
    sections = [_frontier(data), _along(data), _everything(data)]
    title = f"The dial of {_subject(data)}"
    return render_page(title, reads, [_better(data), _cost(data), _take(data)], sections)


def lead_measure(data: Data) -> str:
    """The measure that decides: the first judge, else the reward that was learned, else any reward, else the KL.

    A judge that gave no setting but 1 a score decides nothing.
    """
    others = [one for one in data["points"] if one["setting"] != 1]
    known = sorted({name for one in others for name in one["figures"] if _has_value(one, name)}, key=measure_order)
    main = [name for prefix in ("judge/", "reward/mean", "reward/") for name in known if name.startswith(prefix)]
    return main[0] if main else KL


def best_setting(data: Data) -> Data | None:
    """The setting with the highest value of the lead measure among those found to be above setting 1; None: no one."""
    name = lead_measure(data)
    above = [one for one in data["points"] if (d := one["difference"].get(name)) and is_found(d) and d["value"] > 0]
    return max(above, key=lambda one: one["figures"][name]["value"], default=None) if name != KL else None


def _highest(data: Data) -> Data:
    """The best setting, else the one besides 1 whose value of the lead measure is highest."""
    name = lead_measure(data)
    others = [one for one in data["points"] if one["setting"] != 1 and _has_value(one, name)]
    return best_setting(data) or max(others, key=lambda one: float(one["figures"][name]["value"]))


def _has_value(entry: Data, name: str) -> bool:
    return entry["figures"].get(name, {}).get("value") is not None


def _prompt_words(data: Data) -> str:
    """Name of one of the prompts; only a data file's part `held_out` is known to be held out."""
    return "held-out prompt" if data["prompts"]["name"].endswith(".held_out") else "prompt"


def _subject(data: Data) -> str:
    runs = [data["run"]["name"], *data["averaged"]]
    return listed(runs) + (", averaged" if len(runs) > 1 else "")


def _better(data: Data) -> Answer:
    question = f"Is there a better setting than 1, which is {_subject(data)} itself?"
    name = lead_measure(data)
    if name == KL:
        return Answer(question, "Unknown: no judge and no reward was measured.")
    best, top = best_setting(data), _highest(data)
    who = f"setting {number(top['setting'])}" + ("" if best else ", the highest of the others,")
    form = quantity(name).difference
    sentence = difference_sentence(top["difference"][name], who, "setting 1", measure_name(name), form)
    lead = "Yes: " if best else "No: " if sentence.startswith("setting") else ""
    sentence = lead + sentence if lead else sentence[0].upper() + sentence[1:]
    details = ["The settings were compared on one set of prompts: measure the one you choose on other prompts."]
    if name.startswith("reward/"):
        details.append("That is the reward it was trained on. Only another judge can tell whether it is better.")
    return Answer(question, f"{sentence}.", details, "gold" if best and name.startswith("judge/") else "")


def _cost(data: Data) -> Answer:
    said, shown = [], {0, 1, MOST, _highest(data)["setting"]}
    for name, what in ((KL, "KL"), (DISTINCT, "distinct-2")):
        values = [(one["setting"], one["figures"].get(name)) for one in data["points"]]
        texts = [f"{number(figure['value'])} at {number(at)}" for at, figure in values if figure and at in shown]
        said.append(f"{what} is {', '.join(texts)}")
    return Answer("What does a setting cost?", "; ".join(said) + ".", ["KL in nats per completion."])


def _take(data: Data) -> Answer:
    best = best_setting(data)
    setting = number(best["setting"] if best else 0.7)
    more = "".join(f" --average {name}" for name in data["averaged"])
    what = {
        "adapter": "The adapter is scaled: reference + setting × (run − reference), in every adapted weight.",
        "weights": "All weights were trained, so all are scaled: reference + setting × (run − reference).",
    }[data["scales"]]
    command = f"preflab export model {data['run']['name']} FOLDER --dial {setting}{more}"
    return Answer("How do I take a setting?", command, [what, f"0 is {data['reference']} itself, 1 the run itself."])


def _frontier(data: Data) -> Section:
    judged = [name for name in _measures(data) if name.startswith(WORTH)]
    names = [name for name in judged if any(_has_value(one, name) for one in data["points"])]
    lead = (
        "The dial joins the reference (left) to the run and beyond. A trained run above the line shows what training "
        "at another coefficient gives that scaling does not."
    )
    blocks = [Grid([_worth(data, name) for name in names])] if names else [Note("No judge and no reward was measured.")]
    return Section("frontier", "What each setting gives, against its distance", blocks, lead)


def _worth(data: Data, name: str) -> Figure:
    """One judge or reward over √KL: the dial, the trained runs, the best possible curve."""
    points = [one for one in data["points"] if _has_value(one, name)]
    lines = [_line("dial", "policy", points, name, dots=False)]
    marked = {0: (data["reference"], "reference"), 1: (f"1: {_subject(data)}", "policy")}
    lines += [_line(label, role, [one], name) for one in points for s, (label, role) in marked.items()
              if one["setting"] == s]  # fmt: skip
    curve = data["optimum"]["curves"].get(name) or []
    prompts = f"{_prompt_words(data)}s".capitalize()
    caption = f"{prompts}, n = {data['prompts']['num']:,}; bands and whiskers: 95\u00a0% intervals over prompts."
    if len(curve) > 1:
        optimum = data["optimum"]
        role = "gold" if name.startswith("judge/") else "reward"
        lines.insert(0, Line("best possible", role, [_root(p["kl"]) for p in curve], [p["value"] for p in curve]))
        caption += (
            " Best possible: the highest mean of this score at each KL, by exponential tilting of "
            f"{count(optimum['num_completions'], 'completion')} of {data['reference']} for each of "
            f"{count(optimum['num_prompts'], 'prompt')}; it ends where too few completions carry the weight."
        )
    near = FAR * max(x for line in lines for x in line.xs)
    runs = [
        _line(_run_label(run), place_role("policy", i + 1), [run], name)
        for i, run in enumerate(data["runs"])
        if _has_value(run, name)
    ]
    lines += [line for line in runs if line.xs[0] <= near]
    far = [f"{line.label} ({number(line.ys[0])} at {number(line.xs[0])})" for line in runs if line.xs[0] > near]
    caption += f" Too far away to be drawn: {listed(far)}." if far else ""
    widest = max(x for line in lines for x in line.xs)
    title = f"{measure_title(name)} along the dial"
    chart = line_chart(lines, x=X, y=measure_name(name), x_range=(0.0, 1.02 * widest or 1.0), description=title)
    return Figure(title, chart, caption, _table(data, (KL, name)))


def _line(label: str, role: str, entries: list[Data], name: str, *, dots: bool = True) -> Line:
    figures = [one["figures"][name] for one in entries]
    return Line(
        label,
        role,
        [_root(one["figures"][KL]["value"]) for one in entries],
        [or_nan(figure["value"]) for figure in figures],
        [or_nan(figure["low"]) for figure in figures],
        [or_nan(figure["high"]) for figure in figures],
        dots=dots,
    )


def _run_label(run: Data) -> str:
    return run["name"] if run["kl_coef"] is None else f"{run['name']}, kl_coef {number(run['kl_coef'])}"


def _root(kl: float | None) -> float:
    return math.sqrt(max(0.0, kl or 0.0))


def _along(data: Data) -> Section:
    figures = []
    for name in (KL, DISTINCT, "length/words", "finished/share"):
        points = [(one["setting"], one["figures"][name]) for one in data["points"] if name in one["figures"]]
        if not points:
            continue
        value, low, high = ([or_nan(figure[part]) for _, figure in points] for part in ("value", "low", "high"))
        line = Line("", quantity(name).role, [setting for setting, _ in points], value, low, high)
        title = f"{measure_title(name)}, by setting"
        chart = line_chart(
            [line], x="setting of the dial", y=measure_name(name), x_range=(0.0, MOST), description=title
        )
        figures.append(Figure(title, chart, "Band: 95\u00a0% interval over prompts.", _table(data, (name,))))
    return Section("along", "What changes along the dial", [Grid(figures)])


def _measures(data: Data) -> list[str]:
    return sorted({name for one in data["points"] for name in one["figures"]}, key=measure_order)


def _table(data: Data, names: tuple[str, ...] | list[str]) -> Table:
    """Settings, then runs, with these measures."""
    entries = [*data["points"], *data["runs"]]
    labels = [number(one["setting"]) for one in data["points"]] + [_run_label(run) for run in data["runs"]]
    columns = [intervals([one["figures"].get(name) for one in entries], quantity(name).form) for name in names]
    rows = [[Cell(label), *numbers(*texts)] for label, *texts in zip(labels, *columns, strict=True)]
    return Table(["setting", *(measure_name(name) for name in names)], rows)


def _everything(data: Data) -> Section:
    names = _measures(data)
    table = _table(data, names)
    name = lead_measure(data)
    against = Table(
        ["setting", f"{measure_name(name)}, setting minus setting 1", "found, after Holm over the settings"],
        [
            [Cell(number(one["setting"])), *numbers(interval_text(one["difference"][name], quantity(name).difference)),
             Cell("yes" if is_found(one["difference"][name]) else "no")]
            for one in data["points"] if one["difference"]
        ],
        "Differences from the run",
        "Paired by prompt: every setting samples with the same seed for the same prompt.",
    )  # fmt: skip
    judges = "; ".join(f"{name}: {function}" for name, function in data["judges"].items()) or "none"
    measured = (
        f"{count(data['prompts']['num'], 'prompt')} of {data['prompts']['name']}, "
        f"{count(data['prompts']['num_completions'], 'completion')} each, at temperature "
        f"{number(data['decoding']['temperature'])}, at most {data['decoding']['max_new_tokens']} tokens. "
        f"Judges: {judges}. `reward` is the weighted sum that {data['run']['name']} learned from."
    )
    notes = [Note(measured, title="What was measured"), *(Note(text) for text in data["notes"])]
    return Section("numbers", "The numbers", [table, against, *notes])
