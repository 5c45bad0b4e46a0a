"""The stages `judge` and `preferences` on a real workspace: simulated labelers, and people who are waited for."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from preflab.errors import PreflabError
from preflab.files import write_json
from preflab.recipe import load_recipe
from preflab.records import Campaign, Completion, Judgment, Labeler, Prompt, RankingAnswer, Task
from preflab.stages import judge, preferences
from preflab.stages.base import StageContext, StageOutput
from preflab.store.snapshots import read_snapshot
from preflab.store.workspace import Workspace

RECIPE = """
recipe: 1
data: {prompts: {path: prompts.jsonl}}
labelers:
  panel:
    kind: simulated
    utility: "preflab.demo.gold:gold_utility"
    num: 5
    careless: 1
    reversed: 1
    noise: 0.3
stages:
  answers: {kind: sample, model: nobody/nothing, prompts: prompts}
  labels: {kind: judge, completions: answers, labelers: WHO, overlap: OVERLAP}
  prefs: {kind: preferences, judgments: labels}
"""
ANSWERS = (
    "thank you for asking. your parcel is on its way and will arrive on friday. have a nice day.",
    "on friday.",
    "go away and wait like everybody else.",
    "friday friday wait the kind lamp until",
)


class World:
    """A workspace with prompts and four completions each, and a recipe about them."""

    def __init__(self, folder: Path, who: str, overlap: int, num: int) -> None:
        days = ("monday", "tuesday", "wednesday", "thursday", "friday")
        texts = [f"where is the {item} that i ordered on {day}?" for item in ("lamp", "chair", "phone", "jacket",
                 "clock", "camera", "radio", "table") for day in days][:num]  # fmt: skip
        self.prompts = [Prompt.make(text=text) for text in texts]
        (folder / "prompts.jsonl").write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts))
        (folder / "recipe.yaml").write_text(RECIPE.replace("WHO", who).replace("OVERLAP", str(overlap)))
        self.recipe = load_recipe(folder / "recipe.yaml")
        self.workspace = Workspace.open(folder, create=True)
        self.completions = [
            Completion.make(prompt.id, text, "model-x", index=index)
            for prompt in self.prompts
            for index, text in enumerate(ANSWERS)
        ]
        self.workspace.put([*self.prompts, *self.completions])
        self.done: dict[str, StageOutput] = {}
        self.folder("answers")
        write_json(self.folder("answers") / "completions.json", [completion.id for completion in self.completions])

    def folder(self, name: str) -> Path:
        path = self.workspace.runs / f"{name}-0"
        path.mkdir(exist_ok=True)
        self.done[name] = StageOutput(name, self.recipe.stages[name].kind, "0", path, {})
        return path

    def context(self, name: str) -> StageContext:
        folder = self.folder(name)
        return StageContext(
            name, self.recipe.stages[name], 7, folder, self.recipe, self.done, self.done, self.recipe.device,
            lambda: self.workspace,
        )  # fmt: skip


@pytest.fixture
def simulated(tmp_path: Path) -> World:
    return World(tmp_path, "panel", overlap=3, num=40)


@pytest.fixture
def people(tmp_path: Path) -> World:
    return World(tmp_path, "people", overlap=2, num=3)


def agreement_of(world: World) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((world.folder("prefs") / "agreement.json").read_text())
    return found


def test_a_simulated_campaign_end_to_end(simulated: World) -> None:
    result = judge.run(simulated.context("labels"))
    assert result.waiting is None
    assert result.summary == "120 judgments by 5 simulated labelers (1 careless, 1 reversed)"
    judgments = simulated.workspace.judgments()
    assert len(judgments) == 120
    assert all(j.labeler_kind == "simulated" and sorted(j.shown_order) == [0, 1, 2, 3] for j in judgments)
    assert len({j.shown_order for j in judgments}) > 10

    result = preferences.run(simulated.context("prefs"))
    snapshot = read_snapshot(simulated.folder("prefs") / "snapshot")
    assert len(snapshot.preferences) == 40 == len(simulated.workspace.preferences(source="simulated"))
    # Utilities 3, 2, −1.5 and F with noise 0.3: nearly every consensus is 1, 2, 3, F.
    right = [p.ranks == (1, 2, 3, None) for p in snapshot.preferences]
    assert sum(right) >= 30
    assert all(sum(pair.weight for pair in p.pairs) == pytest.approx(1.0) for p in snapshot.preferences if p.pairs)
    assert result.figures["num_preferences"] == 40


def test_the_table_of_labelers_names_the_bad_ones(simulated: World) -> None:
    judge.run(simulated.context("labels"))
    preferences.run(simulated.context("prefs"))
    found = agreement_of(simulated)
    assert found["simulated"] is True
    by_habit: dict[str, list[dict[str, Any]]] = {}
    for row in found["labelers"]:
        by_habit.setdefault(row["truth"]["habit"], []).append(row)
    assert {habit: len(rows) for habit, rows in by_habit.items()} == {"attentive": 3, "careless": 1, "reversed": 1}
    (backwards,), (careless,) = by_habit["reversed"], by_habit["careless"]
    assert backwards["weight"] == 0.0
    assert backwards["reliability"] < 0.34
    assert careless["weight"] < 0.35
    assert all(row["weight"] > 0.5 for row in by_habit["attentive"])
    assert all(row["standing"] == "too few tasks to say" for row in found["labelers"])  # 24 each
    assert (
        backwards["agreement_with_others"]["value"] < 0.5 < by_habit["attentive"][0]["agreement_with_others"]["value"]
    )
    assert [row["reliability"] for row in found["labelers"]] == sorted(
        (row["reliability"] for row in found["labelers"]), reverse=True
    )


def test_the_same_again_changes_nothing(simulated: World) -> None:
    judge.run(simulated.context("labels"))
    first = (simulated.folder("labels") / "judgments.json").read_text()
    before = simulated.workspace.counts()
    judge.run(simulated.context("labels"))
    assert (simulated.folder("labels") / "judgments.json").read_text() == first
    assert simulated.workspace.counts() == before


def test_an_overlap_beyond_the_panel_is_refused(tmp_path: Path) -> None:
    world = World(tmp_path, "panel", overlap=6, num=2)
    with pytest.raises(PreflabError, match="overlap 6 with 5 labelers"):
        judge.run(world.context("labels"))
    assert world.workspace.judgments() == []


def test_one_completion_per_prompt_is_nothing_to_judge(people: World) -> None:
    one_each = [completion.id for completion in people.completions if completion.index == 0]
    write_json(people.folder("answers") / "completions.json", one_each)
    with pytest.raises(PreflabError, match="no prompt has two completions"):
        judge.run(people.context("labels"))


def by_person(task: Task, campaign: Campaign, labeler: str, ranks: tuple[int | None, ...]) -> Judgment:
    return Judgment(
        id=f"judgment-{labeler}-{task.id}", campaign_id=campaign.id, task_id=task.id, prompt_id=task.prompt_id,
        completion_ids=task.completion_ids, shown_order=(3, 2, 1, 0), question=campaign.question, polarity=1,
        answer=RankingAnswer(ranks), labeler_id=labeler, labeler_kind="person",
    )  # fmt: skip


def test_people_are_waited_for(people: World) -> None:
    result = judge.run(people.context("labels"))
    assert result.waiting == "0 of 3 tasks have 2 labels"
    (campaign,) = people.workspace.campaigns()
    tasks = people.workspace.tasks(campaign_id=campaign.id)
    people.workspace.put([Labeler(name, name, "person") for name in ("ann", "bob")])
    people.workspace.put([by_person(task, campaign, "ann", (1, 2, 3, None)) for task in tasks])
    people.workspace.put([by_person(tasks[0], campaign, "bob", (1, 3, 2, None))])
    # They differ on one pair, and that ann has judged more tasks does not decide it.
    said = "1 of 3 tasks have 2 labels; 1 pair of 1 task awaits adjudication"
    assert judge.run(people.context("labels")).waiting == said

    people.workspace.put([by_person(task, campaign, "bob", (1, 2, 2, None)) for task in tasks[1:]])
    result = judge.run(people.context("labels"))
    assert result.waiting is None
    assert result.summary == "6 judgments by 2 labelers; 1 pair of 1 task awaits adjudication"
    assert len(people.workspace.campaigns()) == 1

    preferences.run(people.context("prefs"))
    found = agreement_of(people)
    assert found["simulated"] is False
    assert all(row["truth"] == {} and row["standing"] == "too few tasks to say" for row in found["labelers"])
    assert {p.source for p in people.workspace.preferences()} == {"human"}


def test_an_ai_judge_does_not_count_as_a_person(people: World) -> None:
    judge.run(people.context("labels"))
    (campaign,) = people.workspace.campaigns()
    people.workspace.put([Labeler("gpt", "gpt", "ai")])
    people.workspace.put(
        replace(by_person(task, campaign, "gpt", (1, 2, 3, 4)), labeler_kind="ai")
        for task in people.workspace.tasks(campaign_id=campaign.id)
    )
    assert judge.run(people.context("labels")).waiting == "0 of 3 tasks have 2 labels"
