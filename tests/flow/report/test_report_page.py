"""The report from made-up run folders: what it says, that it is inert, and that it copes with whatever is there."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import report_runs
from preflab.errors import PreflabError
from preflab.report.page import STYLES, build_report
from preflab.training.token_texts import restore_spaces
from preflab.words import ALL_EQUAL

HOSTILE = (
    '</p></style></title><script>alert(1)</script><img src=x onerror=alert(2)>"\'><a href="javascript:alert(3)">&amp;'
)


class Outline(HTMLParser):
    """Every tag with its attributes, and whether tags are closed in order."""

    VOID = frozenset({"meta", "br", "img", "link", "input", "hr", "line", "circle", "rect", "path"})

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag in self.VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def outline(html: str) -> Outline:
    parser = Outline()
    parser.feed(html)
    parser.close()
    return parser


def visible(html: str) -> str:
    """The text of the page, without its style sheet, spaces as one."""
    return " ".join(" ".join(outline(re.sub(r"<style>.*?</style>", "", html, flags=re.S)).text).split())


def everything(runs: Path) -> list[Path]:
    return [
        report_runs.sft_run(runs),
        *report_runs.feedback_runs(runs),
        report_runs.reward_run(runs),
        report_runs.ppo_run(runs),
        report_runs.ppo_run(runs, "ppo_free", free=True, alarms=report_runs.ALARMS),
        report_runs.evaluate_run(runs),
    ]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("page")
    return build_report(everything(folder / "runs"), title="Manners", base=folder)


def test_the_first_screen_answers_in_order(page: str) -> None:
    text = visible(page)
    places = [text.index(question) for question in ("Did it work?", "How sure are we?", "What did it cost?")]
    assert places == sorted(places)
    assert places[2] < text.index("Before and after")
    # 1.71 − 0.62 = 1.09, ± 0.15.
    assert "Yes: ppo scores 1.09 higher than sft on gold (judge), 95 % interval 0.94 to 1.24." in text
    assert "ppo_free hacks the reward: rm (reward model) rose while gold (judge) fell." in text
    assert "The labelers were simulated" in text
    # 41.2 + 22 + 3.1 + 1.2 + 18.4 + 92.4 + 92.4 + 31 = 301.7 seconds.
    assert "5:02 of computing in 8 stages" in text


@pytest.mark.parametrize(("measure", "function"), [("reward/rm", None), ("judge/mood", "moods:happy")])
def test_a_rise_of_the_reward_that_was_trained_on_is_not_called_success(
    measure: str, function: str | None, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    folders = [report_runs.ppo_run(runs), report_runs.evaluate_run(runs)]
    manifest = json.loads((folders[0] / "manifest.json").read_text())
    manifest["settings"]["rewards"] = [{"model": "rm"}, {"function": function}]
    (folders[0] / "manifest.json").write_text(json.dumps(manifest))
    evaluation = json.loads((folders[1] / "evaluation.json").read_text())
    evaluation["judges"] = {"mood": {"function": function, "fail_utility": None}} if function else {}
    for entry in [*evaluation["comparisons"], *evaluation["models"]]:
        found = entry["differences" if "differences" in entry else "figures"]
        kept = {name: value for name, value in found.items() if not name.startswith(("judge/", "reward/"))}
        entry["differences" if "differences" in entry else "figures"] = kept | {measure: found["reward/rm"]}
    evaluation |= {"frontier": [], "tilted": None}
    (folders[1] / "evaluation.json").write_text(json.dumps(evaluation))
    text = visible(build_report(folders, base=tmp_path))
    assert "Yes:" not in text
    # 1.24 − 0.02 = 1.22.
    assert "Not known: ppo scores 1.22 higher than sft" in text
    assert "That is the reward it was trained on" in text


def test_titles_are_sentences_from_the_data(page: str) -> None:
    text = visible(page)
    assert "gold (judge): 1.09 higher for ppo and 0.51 lower for ppo_free" in text
    assert "rude: 19 points lower for ppo and 21 points lower for ppo_free" in text
    assert "length, tokens" in text
    assert "gold: a completion marked F counts −3." in text
    assert "no difference found (could have seen 0.57)" in text  # half 0.4 times (1.96 + 0.84) / 1.96
    assert "KL of ppo stays within its budget of 8 nats" in text
    assert "KL of ppo_free passes its budget of 8 nats at step" in text
    assert "gold (judge): ppo took 3.4 nats for a score that needs 1.3" in text
    assert "rm is right on 74 % of held-out pairs, as often as people agree" in text
    assert "2 of 5 simulated labelers stand out" in text


def test_every_alarm_names_the_setting_to_change(page: str) -> None:
    text = visible(page)
    assert "ppo_free: kl above budget, at step 13" in text
    assert "Change: kl_coef." in text
    assert "Change: kl_coef, or label the new completions." in text


def test_every_chart_has_a_title_a_caption_and_a_table(page: str) -> None:
    figures = re.findall(r"<figure.*?</figure>", page, flags=re.S)
    assert len(figures) > 20
    for figure in figures:
        assert re.search(r"<h3>\S.{8,}</h3>", figure)
        assert re.search(r'<p class="caption">\S', figure)
        assert '<table role="table"' in figure
        assert re.search(r'role="img" aria-label="\S', figure)
        assert "nan" not in re.sub(r"<title>.*?</title>", "", figure)


def test_the_page_is_whole_light_and_loads_nothing(page: str) -> None:
    found = outline(page)
    assert not found.wrong
    assert not found.open
    assert len(page.encode()) < 1_000_000
    assert not [tag for tag, _ in found.tags if tag in ("script", "link", "img", "iframe", "object", "base")]
    assert not [name for _, attributes in found.tags for name in attributes if name.startswith("on")]
    hrefs = [str(attributes["href"]) for tag, attributes in found.tags if tag == "a"]
    assert not [href for href in hrefs if re.match(r"[a-z]+:|//", href)]
    assert "url(" not in page
    ids = [str(attributes["id"]) for _, attributes in found.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_links_lead_to_the_records_from_wherever_the_page_lies(tmp_path: Path) -> None:
    folders = everything(tmp_path / "runs")
    for base in (tmp_path, tmp_path / "runs" / "report-0"):
        base.mkdir(exist_ok=True)
        hrefs = re.findall(r'href="([^"#][^"]*)"', build_report(folders, base=base))
        assert len(hrefs) > 20
        assert not [href for href in hrefs if not (base / href).exists()]


def test_hostile_text_is_inert_wherever_it_comes_from(tmp_path: Path) -> None:
    samples = report_runs.sample_rows(3)
    for row in samples:
        row["prompt"] = HOSTILE
        for one in row["completions"]["ppo"]:
            one |= {"text": HOSTILE, "label": HOSTILE, "id": HOSTILE}
    alarms = [{"step": 1, "alarm": HOSTILE, "message": HOSTILE, "setting": HOSTILE}]
    runs = tmp_path / "runs"
    folders = [report_runs.ppo_run(runs, alarms=alarms), report_runs.evaluate_run(runs, samples)]
    rows = report_runs.rollout_rows()
    for row in rows:
        row |= {"prompt": HOSTILE, "tokens": [HOSTILE] * 7, "completion": HOSTILE * 7}
    report_runs.write_rollouts(folders[0], rows)
    for folder in folders:
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest |= {"stage": HOSTILE[:40], "summary": HOSTILE, "versions": {HOSTILE: HOSTILE}}
        manifest["settings"]["note"] = HOSTILE
        (folder / "manifest.json").write_text(json.dumps(manifest))
    page = build_report(folders, title=HOSTILE, base=tmp_path)
    found = outline(page)
    assert not found.wrong
    assert not [tag for tag, _ in found.tags if tag in ("script", "img")]
    assert not [attributes for tag, attributes in found.tags if tag == "a" and "javascript" in str(attributes["href"])]
    assert "alert(1)" in visible(page)  # still there to be read


@pytest.mark.parametrize("kind", ["sft", "reward", "ppo", "evaluate", "preferences"])
def test_any_single_stage_makes_a_page(kind: str, tmp_path: Path) -> None:
    makers = {
        "sft": report_runs.sft_run,
        "reward": report_runs.reward_run,
        "ppo": report_runs.ppo_run,
        "evaluate": report_runs.evaluate_run,
        "preferences": lambda runs: report_runs.feedback_runs(runs)[-1],
    }
    page = build_report([makers[kind](tmp_path / "runs")], base=tmp_path)
    assert not outline(page).wrong
    text = visible(page)
    if kind != "evaluate":
        assert "Yes:" not in text
    if kind == "reward":
        assert "rm orders 74 % (68 to 80 %) of held-out pairs as the labelers did." in text
    if kind in ("sft", "ppo"):
        assert "Not measured yet" in text
        assert ("No alarm fired" in text) == (kind == "ppo"), "what nobody watched did not stay silent"


def test_stages_before_count_for_cost_and_provenance_alone(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    sft, ppo = report_runs.sft_run(runs), report_runs.ppo_run(runs)
    text = visible(build_report([ppo], before=[sft], base=tmp_path))
    assert "2:14 of computing in 2 stages" in text  # 41.2 + 92.4
    assert "Losses of the other stages" not in text


def test_an_interrupted_run_still_makes_a_page(tmp_path: Path) -> None:
    folder = report_runs.ppo_run(tmp_path / "runs")
    lines = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    (folder / "metrics.jsonl").write_text(lines[0] + lines[1][:20])
    shutil.rmtree(folder / "rollouts")
    assert "too few steps to say" in visible(build_report([folder], base=tmp_path))


def test_rollouts_of_an_earlier_version_are_shown(tmp_path: Path) -> None:
    """Earlier versions kept rollouts as JSON lines, without rounding errors below five decimals."""
    folder = report_runs.ppo_run(tmp_path / "runs")
    now = build_report([folder], base=tmp_path)
    shutil.rmtree(folder / "rollouts")
    lines = "".join(json.dumps(row) + "\n" for row in report_runs.rollout_rows())
    (folder / "rollouts.jsonl").write_text(lines)
    before = build_report([folder], base=tmp_path)
    assert "your parcel is here" in visible(now)
    assert visible(before) == visible(now).replace("ppo/rollouts", "ppo/rollouts.jsonl")
    (folder / "rollouts.jsonl").unlink()
    assert "Rollouts of ppo" not in visible(build_report([folder], base=tmp_path))


def test_rollout_file_that_is_damaged_is_named(tmp_path: Path) -> None:
    folder = report_runs.ppo_run(tmp_path / "runs")
    (folder / "rollouts" / "step-000030.parquet").write_bytes(b"cut")
    with pytest.raises(PreflabError, match=r"step-000030\.parquet"):
        build_report([folder], base=tmp_path)


def test_tokens_of_rollouts_get_their_spaces_back() -> None:
    assert restore_spaces(["go", "away", "."], "go away.") == ["go", " away", "."]
    assert restore_spaces([" a", "b"], " ab") == [" a", "b"]
    # A token the text does not have (an end token) stands as it is, and what follows is still found.
    assert restore_spaces(["a", "<end>", "b"], "a b") == ["a", "<end>", " b"]


def test_a_folder_without_a_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PreflabError, match=r"no manifest\.json"):
        build_report([tmp_path])


def test_verdicts_are_corrected_for_their_family(tmp_path: Path) -> None:
    folder = report_runs.evaluate_run(tmp_path / "runs")
    found = json.loads((folder / "evaluation.json").read_text())
    found["primary"] = "judge/gold"
    for entry in found["comparisons"]:
        for name, difference in entry["differences"].items():
            difference |= {"p": 0.02, "p_holm": 0.02 if name == "judge/gold" else 0.16}
    (folder / "evaluation.json").write_text(json.dumps(found))
    text = visible(build_report([folder], base=tmp_path))
    assert "Yes: ppo scores 1.09 higher than sft on gold (judge)" in text
    assert "Primary measure: gold (judge). The other 8 measures are corrected as one family (Holm)." in text
    assert "gold (judge), primary" in text
    assert "higher, but not found among several measures (Holm)" in text
    assert "hacks the reward" not in text, "the reward's rise is not found among several measures"
    found["primary"] = "reward/rm"
    found["comparisons"][0]["differences"]["reward/rm"]["p_holm"] = 0.02
    (folder / "evaluation.json").write_text(json.dumps(found))
    assert "Yes: ppo scores 1.22 higher than sft on rm (reward model)" in visible(build_report([folder], base=tmp_path))
    found["primary"] = "label/curt"
    (folder / "evaluation.json").write_text(json.dumps(found))
    assert "Unknown: curt was not measured." in visible(build_report([folder], base=tmp_path))


def test_no_difference_and_no_interval_are_said(tmp_path: Path) -> None:
    folder = report_runs.evaluate_run(tmp_path / "runs")
    found = json.loads((folder / "evaluation.json").read_text())
    found["comparisons"] = found["comparisons"][:1]
    # Width 0.2: could have seen 0.1 · 2.8016 / 1.96 = 0.143.
    found["comparisons"][0]["differences"]["judge/gold"] = report_runs.estimate(0.01, 0.1)
    (folder / "evaluation.json").write_text(json.dumps(found))
    text = visible(build_report([folder], base=tmp_path))
    assert "No difference found between ppo and sft on gold (judge) (could have seen 0.14)." in text
    # Half of that, 0.071, takes about four times the 200 prompts.
    (num,) = re.findall(r"About (\d+) prompts would find a difference of 0.071.", text)
    assert int(num) == pytest.approx(800, rel=0.02)
    none = {"value": 0.0, "low": None, "high": None, "num": 200, "note": ALL_EQUAL}
    found["comparisons"][0]["differences"]["judge/gold"] = none
    (folder / "evaluation.json").write_text(json.dumps(found))
    assert "ppo and sft on gold (judge): equal on every prompt." in visible(build_report([folder], base=tmp_path))


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2.2 defines it."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_is_aa(scheme: str) -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    light, _, rest = STYLES[0].read_text().partition("prefers-color-scheme: dark")
    block = light if scheme == "light" else rest[: rest.index("}")]
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
    for paper in ("paper", "raised"):
        for text in ("ink", "muted", "accent", "gold-text", "reward-text", "alarm-text"):
            assert contrast(colours[text], colours[paper]) >= 4.5, (text, paper)
        for mark in ("reference", "policy", "policy-2", "gold", "reward", "alarm"):
            assert contrast(colours[mark], colours[paper]) >= 3, (mark, paper)


def figure_of(page: str, caption: str) -> str:
    """The figure whose caption begins so."""
    figures = re.findall(r"<figure.*?</figure>", page, flags=re.S)
    return next(figure for figure in figures if re.search(rf'<p class="caption">{re.escape(caption)}', figure))


def with_metrics(runs: Path, name: str, metric: str, values: list[float], **settings: Any) -> Path:
    """A PPO run that logged one metric."""
    rows = [{"step": step, metric: value} for step, value in enumerate(values)]
    return report_runs.write_run(
        runs, name, "ppo", seconds=1.0, summary="", settings=settings, lines={"metrics.jsonl": rows}
    )


def test_a_title_says_where_its_line_ends(tmp_path: Path) -> None:
    """The mean of the last tenth is (−0.0065 + 0.0055) / 2 = −0.0005: the title does not say so."""
    ys = [-0.02 + 0.001 * step for step in range(18)] + [-0.0065, 0.0055]
    runs = tmp_path / "runs"
    one, two = (with_metrics(runs, name, "loss/policy", ys) for name in ("ppo", "other"))
    assert "Policy loss rises from −0.0200 to 0.0055" in visible(build_report([one], base=tmp_path))
    text = visible(build_report([one, two], base=tmp_path))
    assert "Policy loss ends for ppo at 0.0055, for other at 0.0055" in text
    assert "−0.0005 nats" not in text


def test_kl_far_beyond_its_budget_has_a_logarithmic_axis(tmp_path: Path) -> None:
    values = [0.0, -1e-7, 0.4, 5.0, 60.0, 400.0]
    runs = tmp_path / "runs"
    page = build_report([with_metrics(runs, "ppo", "kl/exact", values, kl_budget=3.0)], base=tmp_path)
    figure = figure_of(page, "kl/exact")
    assert "KL passes its budget of 3 nats at step 3 and ends at 400 nats" in figure
    assert "nats, logarithmic</text>" in figure
    assert ">budget 3 nats</text>" in figure
    # Two points have no logarithm, or none that is drawn.
    assert "The axis is logarithmic" in figure
    assert "Drawn on its lower edge: 2 points below 0.1 (2 of them 0 or less)." in figure
    assert ">≤\u00a00.1</text>" in figure
    # 30 is ten times the budget: the axis stays linear up to there, and begins at 0.
    near = build_report([with_metrics(runs, "near", "kl/exact", [0.0, 29.0, 30.0], kl_budget=3.0)], base=tmp_path)
    assert "logarithmic" not in figure_of(near, "kl/exact")
    assert ">0</text>" in figure_of(near, "kl/exact")


def test_scores_are_dots_and_shares_are_bars(page: str) -> None:
    for figure in re.findall(r"<figure.*?</figure>", page, flags=re.S):
        title = re.search(r"<h3>(.*?)</h3>", figure, flags=re.S)
        assert title is not None
        if re.match(r"(gold \(judge\)|rm \(reward model\)): [\d.]+ (higher|lower)", title[1]):
            assert "<rect" not in figure
            assert 'class="whisker' in figure
            assert "has no natural zero" in figure
        if re.match(r"(rude|well): ", title[1]):
            assert 'class="bar' in figure
            assert "has no natural zero" not in figure


def test_a_row_of_the_main_table_has_one_precision(page: str) -> None:
    table = page[page.index("<table", page.index('id="comparison"')) :]
    table = table[: table.index("</table>")]
    for row in re.findall(r"<tr role=\"row\">(.*?)</tr>", table, flags=re.S)[1:]:
        cells = re.findall(r"<td[^>]*>(.*?)</td>", row, flags=re.S)[1:]
        decimals = {len(part.partition(".")[2]) for cell in cells for part in re.findall(r"\d[\d,]*\.?\d*", cell)}
        assert len(decimals) == 1, cells
    assert "-" not in re.sub(r"<[^>]+>", "", table).replace("3-grams", "").replace("distinct-", "")


def test_metrics_that_were_cut_are_said(tmp_path: Path) -> None:
    folder = report_runs.sft_run(tmp_path / "runs")
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"rows": {"metrics.jsonl": 120}}))
    assert "metrics cut" not in visible(build_report([folder], base=tmp_path))
    lines = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    (folder / "metrics.jsonl").write_text("".join(lines[:90]) + lines[90][:20])
    text = visible(build_report([folder], base=tmp_path))
    assert "sft: rows are missing" in text
    assert "metrics cut: 90 of 120 rows; the figures below use the remaining rows." in text
    (folder / "manifest.json").write_text(json.dumps(manifest | {"rows": {"metrics.jsonl": 120}, "state": "running"}))
    assert "metrics cut" not in visible(build_report([folder], base=tmp_path)), "it still writes"
