"""Terminal, report and overview of one run agree to the digit: the same figures, in the same words."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from preflab.cli import run_command
from preflab.labelling.accounts import create_account
from preflab.labelling.assignment import next_turn
from preflab.labelling.campaigns import list_campaigns
from preflab.labelling.submissions import Submission, submit
from preflab.records import RankingAnswer
from preflab.store.workspace import Workspace
from web_app import client

pytestmark = pytest.mark.slow

WORDS = "my parcel lamp clock is here today soon please wait on friday now late thanks".split()  # noqa: SIM905
JUDGE = """
def brief(prompt, completion):
    return 20.0 - len(completion)
"""
RECIPE = """
recipe: 1
data:
  corpus: {path: corpus.jsonl}
  shown: {path: shown.jsonl}
  prompts: {path: prompts.jsonl, held_out: 0.3}
stages:
  base: {kind: tiny, text: corpus, num_layers: 1, hidden_size: 32, num_heads: 2, context: 32, num_steps: 5}
  sft: {kind: sft, model: base, data: shown, num_epochs: 1, num_sequences_per_step: 2}
  answers: {kind: sample, model: sft, prompts: prompts.train, num_completions: 3, max_new_tokens: 6}
  labels: {kind: judge, completions: answers, overlap: 2}
  prefs: {kind: preferences, judgments: labels}
  rm: {kind: reward, model: sft, preferences: prefs, num_epochs: 1, held_out: 0.4}
  ppo: {kind: ppo, model: sft, prompts: prompts.train, rewards: [{model: rm}], num_steps: 4,
        num_completions_per_step: 8, decoding: {max_new_tokens: 6}, kl_budget: 8.0, kl_coef: 0.0,
        optimiser: {learning_rate: 0.03, warmup_share: 0.0}}
  eval: {kind: evaluate, models: [sft, ppo], prompts: prompts.held_out, judges: {brief: "judge_of_words:brief"},
         rewards: [rm], decoding: {max_new_tokens: 6}}
  report: {kind: report, of: [sft, labels, prefs, rm, ppo, eval]}
"""
FIGURE = "[−\\d][\\d.,]*"


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What `run` and `campaign show` print, the page of the report, and two pages of the campaign's lead."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("words")
        patch.chdir(folder)
        write_project(folder)
        assert run_command(["run"]) == 0
        answer_everything(folder)
        yield {
            "terminal": printed(["run"]),
            "shown": printed(["campaign", "show", "labels"]),
            "report": text_of((folder / "report.html").read_text(encoding="utf-8")),
            **pages_of_the_lead(folder),
        }


def write_project(folder: Path) -> None:
    prompts = [{"prompt": f"my {word} is {other}"} for word in WORDS for other in ("late", "here", "on")]
    rows = {
        "corpus": [{"text": " ".join((WORDS * 2)[i : i + 8])} for i in range(len(WORDS))],
        "shown": [{"prompt": f"my {word} is", "completion": f"{word} soon thanks"} for word in WORDS],
        "prompts": prompts,
    }
    for name, lines in rows.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    (folder / "judge_of_words.py").write_text(JUDGE, encoding="utf-8")
    (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")


def answer_everything(folder: Path) -> None:
    """Two people with tastes of their own: one likes short answers, the other likes different words."""
    with Workspace.open(folder) as store:
        (view,) = list_campaigns(store)
        tastes = {"Ann": lambda text: -len(text), "Bo": lambda text: (len(set(text.split())), -len(text))}
        for who, worth in tastes.items():
            labeler = create_account(store, who, "labeler").labeler_id
            while (turn := next_turn(store, view.campaign.id, labeler)) is not None:
                values = [worth(completion.text) for completion in turn.completions]
                ranks = RankingAnswer(tuple(1 + sum(other > own for other in values) for own in values))
                submit(store, Submission(f"{who}-{turn.task.id}", turn.task.id, labeler, turn.revision, ranks, 4000))


def printed(words: list[str]) -> str:
    """What a command prints on stdout."""
    import contextlib
    import io

    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert run_command(words) == 0
    return out.getvalue()


def pages_of_the_lead(folder: Path) -> dict[str, str]:
    with Workspace.open(folder) as store:
        browser = client(store, create_account(store, "Lea", "lead"))
        (view,) = list_campaigns(store)
        paths = {"overview": "", "agreement": "/agreement"}
        return {name: text_of(browser.get(f"/lead/c/{view.campaign.id}{path}").text) for name, path in paths.items()}


def text_of(page: str) -> str:
    """What a page says, charts and styles left out."""
    bare = re.sub(r"<(style|svg|script)\b.*?</\1>", " ", page, flags=re.S)
    return re.sub(r"[ \n]+", " ", html.unescape(re.sub(r"<[^>]+>", " ", bare)))


def line_of(printed_text: str, stage: str) -> str:
    """A stage's line of the table."""
    return next(line for line in printed_text.splitlines() if line.startswith(f"{stage} "))


def captured(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    assert found is not None, f"{pattern!r} is not in {text!r}"
    return found[1]


def test_agreement_is_the_same_in_all_four_places(seen: dict[str, str]) -> None:
    agreed = captured(r"labelers agree on (\S+\s?% \(.*?\))", line_of(seen["terminal"], "prefs"))
    assert re.fullmatch(r"\d+(\.\d)?\u00a0% \(\d+(\.\d)? to \d+(\.\d)?\u00a0%\)", agreed)
    value = agreed.partition(" (")[0]
    assert captured(r"two labelers agree +(.+)", seen["shown"]).strip() == agreed
    assert f"{agreed}, 95\u00a0% interval, " in seen["overview"]
    assert f"Any two labelers agree on {value} of the pairs both decide" in seen["overview"]
    assert f"Any two labelers agree on {value} of the pairs both decide" in seen["report"]
    assert f"any two {agreed}" in seen["report"]


def test_coefficients_are_the_same_in_the_report_and_on_the_lead_s_page(seen: dict[str, str]) -> None:
    estimate = rf"({FIGURE} \({FIGURE} to {FIGURE}\))"
    for ours, theirs in (
        ("Kendall’s tau-b between two rankings, mean", "Kendall’s tau-b, mean over couples of labelers"),
        ("Kendall’s W among a task’s rankings, mean", "Kendall’s W, mean over tasks"),
        ("Fleiss’ kappa of the votes on pairs", "Fleiss’ kappa of pairs"),
    ):
        assert captured(f"{ours} {estimate}", seen["report"]) == captured(f"{theirs} {estimate}", seen["agreement"])


def test_tasks_and_labels_are_the_same_in_all_four_places(seen: dict[str, str]) -> None:
    judgments = captured(r"(\d+ judgments) by 2 labelers", line_of(seen["terminal"], "labels"))
    num = judgments.removesuffix(" judgments")
    tasks = int(num) // 2
    assert f"{tasks} of {tasks} tasks complete, {num} labels" in seen["shown"]
    assert f"{num} of {num} labels; {tasks} of {tasks} tasks complete." in seen["overview"]
    assert f"judgments {num} " in seen["report"]
    assert f"tasks (one prompt, its completions) {tasks} " in seen["report"]


def test_time_spent_is_the_same_on_the_overview_and_in_the_terminal(seen: dict[str, str]) -> None:
    spent = captured(r"spent +(.+)", seen["shown"]).strip()
    assert f"{spent} of labelling" in seen["overview"]


def test_pairs_are_the_same_in_terminal_and_report(seen: dict[str, str]) -> None:
    said = re.search(r"(\d+ rankings?) → (\d+ pairs?)", line_of(seen["terminal"], "prefs"))
    assert said is not None
    assert f"prefs: {said[1]} became {said[2]}" in seen["report"]


def test_losses_rewards_and_kl_end_alike(seen: dict[str, str]) -> None:
    first, last = re.findall(FIGURE, captured(r"(loss .*? → \S+)", line_of(seen["terminal"], "sft")))
    title = captured(r"(sft: loss [^A-Z]*) nats/token", seen["report"])
    assert title.endswith(f" {last}")
    assert f" {first} " in title or "clear trend" in title
    kl = captured(rf"KL ({FIGURE}) nats", line_of(seen["terminal"], "ppo"))
    assert f"and ends at {kl} nats" in seen["report"]
    reward = captured(rf"reward {FIGURE} → ({FIGURE})", line_of(seen["terminal"], "ppo"))
    assert re.search(rf"Reward (rises|falls|shows|stays)[^A-Z]*? {re.escape(reward)} ", seen["report"])


def test_the_reward_model_is_as_right_in_both(seen: dict[str, str]) -> None:
    right = captured(r"right on (.*?\))(?: of|,)", line_of(seen["terminal"], "rm"))
    longer = captured(r"the longer one wins (\S+\s%)", line_of(seen["terminal"], "rm"))
    assert f"rm {right}" in seen["report"]
    assert f"rm is right on {right.partition(' (')[0]} of held-out pairs" in seen["report"]
    assert f"longer one wins {longer}" in seen["report"]


def test_the_verdict_is_one_sentence(seen: dict[str, str]) -> None:
    said = captured(r"done +(.*(?:interval|found|prompt).*?)  ", line_of(seen["terminal"], "eval") + "  ").strip()
    assert "on brief (judge)" in said
    assert said.lower() in seen["report"].lower()


def test_no_hyphen_stands_for_a_minus_and_no_per_cent_without_its_space(seen: dict[str, str]) -> None:
    for name, text in seen.items():
        assert not re.search(r"(?<![\w.\-–/])-\d", text), name
        assert not re.search(r"\d ?%", text.replace("\u00a0%", "")), name
        assert not re.search(r"\b1 (?:prompts|tasks|labels|pairs|judgments|labelers|stages|alarms|rows|steps)\b", text)
