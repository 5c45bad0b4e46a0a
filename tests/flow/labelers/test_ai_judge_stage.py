"""The stage ai_judge in a recipe: it ranks, it rates, it goes on where it stopped, it is measured against others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chat_server import Answer, ChatServer, chat_server
from preflab.errors import PreflabError
from preflab.pipeline import run
from preflab.recipe import load_recipe
from preflab.store.workspace import Workspace

RECIPE = """
recipe: 1
data:
  corpus: {path: corpus.jsonl}
  prompts: {path: prompts.jsonl}
labelers:
  panel: {utility: "brief_utility:shorter", num: 3, noise: 0.0, tie_width: 0.0}
stages:
  base: {kind: tiny, text: corpus, num_layers: 1, hidden_size: 32, num_heads: 2, context: 24, num_steps: 5}
  answers: {kind: sample, model: base, prompts: prompts, num_completions: 3, max_new_tokens: 6}
  labels: {kind: judge, completions: answers, labelers: panel, overlap: 2}
  ai:
    {kind: ai_judge, completions: answers, people: labels,
     judge: {endpoint: {base_url: "URL", model: shorter-is-better, max_retries: 0, price_prompt: 3.0}}}
  prefs: {kind: preferences, judgments: ai}
"""


def shorter(body: dict[str, Any], number: int) -> Answer:
    asked = body["messages"][1]["content"]
    if "Rate one answer" in asked:
        text = asked.split("[The answer]\n")[1].split("\n\n1 means")[0]
        return Answer(f"{len(text)} letters\nSCORE: {max(1, 5 - len(text) // 6)}")
    first = asked.split("[Answer A]\n")[1].split("\n\n[Answer B]")[0]
    second = asked.split("[Answer B]\n")[1].split("\n\nSay in")[0]
    tie = len(first) == len(second)
    return Answer(f"count\nVERDICT: {'TIE' if tie else 'A' if len(first) < len(second) else 'B'}")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    words = ["a", "bee", "sea", "dee", "eel", "effort", "gee", "aitch", "eye", "jay", "kay", "elephant", "em"]
    corpus = [{"text": " ".join(words[i : i + 6])} for i in range(8)]
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in corpus))
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps({"prompt": f"{w} bee"}) + "\n" for w in words[:6]))
    (tmp_path / "brief_utility.py").write_text("def shorter(completion):\n    return -float(len(completion))\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def recipe_at(folder: Path, server: ChatServer, *changes: str) -> Any:
    (folder / "recipe.yaml").write_text(RECIPE.replace("URL", server.url))
    return load_recipe(folder / "recipe.yaml", list(changes))


def test_it_ranks_and_is_measured_against_the_panel(folder: Path) -> None:
    with chat_server(shorter) as server:
        lines = {line.name: line for line in run(recipe_at(folder, server))}
    report = json.loads((lines["ai"].folder / "ai_judge.json").read_text())
    # Six prompts, three pairs in both orders each; the panel and the judge like the same thing.
    assert report["usage"]["num_calls"] == len(server.asked) == 36
    assert report["usage"]["cost"] == pytest.approx(36 * 10 * 3.0 / 1e6)
    assert (report["num_judged"], report["num_unread"]) == (6, 0)
    assert report["people"]["agreement"]["value"] == 1.0
    assert "agrees with people in 100\u00a0%" in lines["ai"].summary
    assert lines["prefs"].state == "done"
    with Workspace.open(folder) as workspace:
        labeler = workspace.labelers(kind="ai")[0]
        judgments = [j for j in workspace.judgments() if j.labeler_kind == "ai"]
    assert labeler.settings["model"] == "shorter-is-better"
    assert len(labeler.settings["question_version"]) == 8
    assert len(judgments) == 6
    assert "1 against 2" in judgments[0].note


def test_it_goes_on_where_it_stopped(folder: Path) -> None:
    well: list[bool] = []

    def answer(body: dict[str, Any], number: int) -> Answer:
        return shorter(body, number) if number < 14 or well else Answer(status=500)

    with chat_server(answer) as server:
        recipe = recipe_at(folder, server, "stages.ai.judge.endpoint.max_parallel=1")
        with pytest.raises(PreflabError, match="no answer after 1 attempt"):
            run(recipe)
        # 14 answers are two whole tasks of six, and two answers of the third, whose verdict needs all six.
        asked = len(server.asked)
        assert 15 <= asked <= 17  # one or two more were on their way
        well.append(True)
        lines = {line.name: line for line in run(recipe)}
        assert len(server.asked) == asked + 36 - 12
        # Both starts are paid for; the call that was refused gave no tokens.
        usage = json.loads((lines["ai"].folder / "ai_judge.json").read_text())["usage"]
        assert usage["num_calls"] == 14 + 24
    assert lines["ai"].summary.startswith("6 tasks judged by an AI")


def test_it_rates_by_criterion_on_peoples_scale(folder: Path) -> None:
    changes = ["stages.ai.way=likert", "stages.ai.criteria={brevity: 1.0}", "stages.labels.way=likert"]
    changes += ["stages.labels.criteria=[brevity]", "stages.prefs.judgments=labels"]
    with chat_server(shorter) as server:
        lines = {line.name: line for line in run(recipe_at(folder, server, *changes))}
    rows = [json.loads(line) for line in (lines["ai"].folder / "scores.jsonl").read_text().splitlines()]
    assert len(rows) == 18
    line = json.loads((lines["ai"].folder / "ai_judge.json").read_text())["people"]["calibration"]["brevity"]
    assert line["num"] == 18
    if line["correlation"] is not None:
        assert line["error_after"] <= line["error_before"] + 1e-9
        expected = line["intercept"] + line["slope"] * rows[0]["points"]["brevity"]
        assert rows[0]["score"] == pytest.approx(expected)


def test_a_judge_without_calibration_is_refused_before_a_model_is_opened(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("preflab.pipeline.running.check_hub_files", lambda recipe, names: None)
    changes = ["stages.ai.way=likert", "stages.ai.criteria={brevity: 1.0}", "stages.ai.people=null"]
    best = """
  best:
    kind: best_of_n
    model: nobody/no-such-model
    prompts: prompts
    num_completions: 2
    rewards: [{judge: {model: nobody/no-such-judge}, criteria: {brevity: 1.0}, calibration: ai}]
"""
    with chat_server(shorter) as server:
        recipe_at(folder, server)
        path = folder / "recipe.yaml"
        path.write_text(path.read_text() + best)
        with pytest.raises(PreflabError, match="ai: no calibration to people's scale for brevity"):
            run(load_recipe(path, changes), until=["best"])


def test_points_outlive_a_kill_between_them_and_their_judgment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = ["stages.ai.way=likert", "stages.ai.criteria={brevity: 1.0}", "stages.ai.people=null"]
    put = Workspace.put

    def killed(self: Workspace, records: Any) -> Any:
        done = put(self, records)
        if any(getattr(record, "labeler_kind", "") == "ai" for record in records):
            raise KeyboardInterrupt  # right after the first judgment is stored
        return done

    with chat_server(shorter) as server:
        recipe = recipe_at(folder, server, *changes, "stages.prefs.judgments=labels")
        monkeypatch.setattr(Workspace, "put", killed)
        with pytest.raises(KeyboardInterrupt):
            run(recipe, until=["ai"])
        monkeypatch.setattr(Workspace, "put", put)
        lines = {line.name: line for line in run(recipe, until=["ai"])}
        assert len(server.asked) == 18
    assert len((lines["ai"].folder / "scores.jsonl").read_text().splitlines()) == 18


def test_a_judge_that_never_answers_in_the_form_asked_for_is_refused(folder: Path) -> None:
    def prose(body: dict[str, Any], number: int) -> Answer:
        return Answer("I like both.")

    with chat_server(prose) as server:
        recipe = recipe_at(folder, server)
        with pytest.raises(PreflabError, match="answers cannot be read"):
            run(recipe)
        (folder / "prompts.jsonl").write_text('{"prompt": "a bee"}\n')
        few = ["stages.answers.num_completions=2", "stages.ai.people=null", "stages.prefs.judgments=labels"]
        with pytest.raises(PreflabError, match="none of 1 task was judged"):  # too few answers to speak of a share
            run(recipe_at(folder, server, *few), until=["ai"])


def test_a_local_model_judges_without_writing(folder: Path) -> None:
    with chat_server(shorter) as server:
        recipe = recipe_at(
            folder, server, "stages.base.context=256", "stages.ai.judge={model: base}", "stages.prefs.judgments=labels"
        )
        lines = {line.name: line for line in run(recipe)}
    assert server.asked == []
    report = json.loads((lines["ai"].folder / "ai_judge.json").read_text())
    assert report["judge"]["asked"] == "likelihood"
    assert (report["num_judged"], report["usage"]) == (6, None)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("stages.ai.judge={}", "either a `model` or an `endpoint`"),
        ("stages.ai.way=likert", "likert needs `criteria`"),
        ("stages.ai.criteria={tone: 1.0}", "nothing would read them"),
        ("stages.ai.judge.tie_width=0.1", "tie_width is for a local"),
        ("stages.ai.judge.endpoint.base_ulr=x", "unknown setting"),
    ],
)
def test_bad_settings_are_refused(folder: Path, change: str, found: str) -> None:
    (folder / "recipe.yaml").write_text(RECIPE)
    with pytest.raises(PreflabError) as raised:
        load_recipe(folder / "recipe.yaml", [change])
    assert found in f"{raised.value.found} {raised.value.expected}"
