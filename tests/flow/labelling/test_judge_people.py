"""The stage `judge` with people: a real campaign, answered over the services that the app uses."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete

from imported_files import import_into
from preflab.errors import PreflabError
from preflab.files import write_json
from preflab.labelling.accounts import create_account
from preflab.labelling.address import write_address
from preflab.labelling.assignment import next_turn
from preflab.labelling.audit import list_events
from preflab.labelling.campaigns import campaign_view, change_options, list_campaigns, list_guidelines, new_guideline
from preflab.labelling.members import let_in
from preflab.labelling.options import CampaignOptions
from preflab.labelling.shown_tasks import Turn
from preflab.labelling.submissions import Submission, submit
from preflab.labelling.tables import LATER_ROUNDS, MEMBERS
from preflab.pipeline.keys import key_content
from preflab.pipeline.planning import plan
from preflab.recipe import load_recipe
from preflab.records import (
    Answer,
    Completion,
    LikertAnswer,
    Prompt,
    RankingAnswer,
    SideBySideAnswer,
    ThumbsAnswer,
)
from preflab.settings.feedback import JudgeSettings
from preflab.stages import judge, preferences
from preflab.stages.base import StageContext, StageOutput, StageResult
from preflab.stages.common import people, people_inputs
from preflab.store.database import writing
from preflab.store.snapshots import read_snapshot
from preflab.store.workspace import Workspace

RECIPE = """
recipe: 1
data: {prompts: {path: prompts.jsonl}}
labelers: {panel: {kind: simulated, utility: "judge_utility:utility", num: 4, noise: 0.2}}
stages:
  answers: {kind: sample, model: nobody/nothing, prompts: prompts}
  labels: {kind: judge, completions: answers, overlap: 2%s}
  prefs: {kind: preferences, judgments: labels}
"""
UTILITY = """
def utility(prompts, completions, **columns):
    return [None if text == "F" else float(len(text)) for text in completions]
"""
TEXTS = ("a", "bb", "ccc", "F")
Answers = Callable[[Turn], Answer]


class World:
    """A workspace with three prompts and four completions each, and a recipe about them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.done = folder, dict[str, StageOutput]()
        (folder / "judge_utility.py").write_text(UTILITY)
        prompts = [Prompt.make(text=f"question {n}?") for n in range(3)]
        (folder / "prompts.jsonl").write_text("".join(json.dumps({"prompt": p.text}) + "\n" for p in prompts))
        self.workspace = Workspace.open(folder, create=True)
        self.completions = [
            Completion.make(p.id, text, "model-x", index=n) for p in prompts for n, text in enumerate(TEXTS)
        ]
        self.workspace.put([*prompts, *self.completions])
        self.runs("answers")
        write_json(self.runs("answers") / "completions.json", [c.id for c in self.completions])

    def runs(self, name: str, kind: str = "sample") -> Path:
        path = self.workspace.runs / f"{name}-0"
        path.mkdir(exist_ok=True)
        self.done[name] = StageOutput(name, kind, "0", path, {})
        return path

    def run(self, name: str = "labels", more: str = "") -> StageResult:
        (self.folder / "recipe.yaml").write_text(RECIPE % more)
        recipe = load_recipe(self.folder / "recipe.yaml")
        kind = recipe.kind(name)
        module = {"judge": judge, "preferences": preferences}[kind]
        return module.run(
            StageContext(
                name, recipe.stages[name], 7, self.runs(name, kind), recipe, self.done, self.done, recipe.device,
                lambda: self.workspace,
            )
        )  # fmt: skip

    def label(self, who: str, answer: Answers, most: int = 1000) -> int:
        """A person answers what the app hands out; returns how many tasks that were."""
        (view,) = list_campaigns(self.workspace)
        account = next((a for a in self.accounts if a.name == who), None)
        account = account or create_account(self.workspace, who, "labeler")
        self.accounts.append(account)
        for number in range(most):
            turn = next_turn(self.workspace, view.campaign.id, account.labeler_id)
            if turn is None:
                return number
            key = f"key-{who}-{turn.task.id}"
            submit(self.workspace, Submission(key, turn.task.id, account.labeler_id, turn.revision, answer(turn), 4000))
        return most

    @property
    def accounts(self) -> list[Any]:
        if not hasattr(self, "_accounts"):
            self._accounts: list[Any] = []
        return self._accounts


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.syspath_prepend(str(tmp_path))
    return World(tmp_path)


def longest_first(turn: Turn) -> RankingAnswer:
    texts = [completion.text for completion in turn.completions]
    order = sorted((text for text in texts if text != "F"), key=len, reverse=True)
    return RankingAnswer(tuple(None if text == "F" else order.index(text) + 1 for text in texts))


def test_a_campaign_is_made_answered_and_learned_from(world: World) -> None:
    write_address(world.workspace.path, "http://127.0.0.1:9000")
    result = world.run()
    (view,) = list_campaigns(world.workspace)
    assert result.waiting == "0 of 3 tasks have 2 labels"
    assert result.link == f"http://127.0.0.1:9000/c/{view.campaign.id}"
    assert (view.num_tasks, view.options.overlap, view.options.way) == (3, 2, "ranking")
    assert "Longer is not better" in view.guideline.text  # a text to begin with
    world.label("ann", longest_first)
    world.label("bob", longest_first, most=1)
    assert world.run().waiting == "1 of 3 tasks have 2 labels"
    world.label("bob", longest_first)
    result = world.run()
    assert (result.waiting, result.summary) == (None, "6 judgments by 2 labelers")
    world.run("prefs")
    snapshot = read_snapshot(world.runs("prefs") / "snapshot")
    ranks = [
        {snapshot.completions[i].text: rank for i, rank in zip(p.completion_ids, p.ranks, strict=True)}
        for p in snapshot.preferences
    ]
    assert ranks == [{"a": 3, "bb": 2, "ccc": 1, "F": None}] * 3


def test_pairs_on_which_they_stay_divided_are_said(world: World) -> None:
    world.run()
    world.label("ann", lambda turn: RankingAnswer((1, 2, 3, None)))
    world.label("bob", lambda turn: RankingAnswer((2, 1, 3, None)), most=2)
    assert str(world.run().waiting).startswith("2 of 3 tasks have 2 labels")
    world.label("bob", lambda turn: RankingAnswer((1, 2, 3, None)))
    result = world.run()
    assert result.summary == "6 judgments by 2 labelers; 2 pairs of 2 tasks await adjudication"
    assert result.figures["num_open_pairs"] == 2
    listed = json.loads((world.runs("labels", "judge") / "open.json").read_text())
    texts = {completion.id: completion.text for completion in world.completions}
    assert [[[texts[i] for i in pair] for pair in task["pairs"]] for task in listed] == [[["a", "bb"]], [["a", "bb"]]]


def test_edits_of_instructions_make_nothing_stale_and_lose_no_label(world: World) -> None:
    (world.folder / "guide.md").write_text("# First\n")
    world.run(more=", instructions: guide.md")
    (view,) = list_campaigns(world.workspace)
    assert view.guideline.text == "# First\n"
    world.label("ann", longest_first)
    (world.folder / "guide.md").write_text("# Second\n")
    world.run(more=", instructions: guide.md")
    world.run(more=", instructions: guide.md")
    (view,) = list_campaigns(world.workspace)
    assert (view.guideline.text, view.guideline.version, view.num_labels) == ("# Second\n", 2, 3)
    new_guideline(world.workspace, view.campaign.id, "# By a lead\n")
    world.run(more=", instructions: guide.md")
    assert campaign_view(world.workspace, view.campaign.id).guideline.text == "# By a lead\n"
    assert len(list_guidelines(world.workspace, view.campaign.id)) == 3
    with pytest.raises(PreflabError, match="instructions"):
        world.run(more=", instructions: nowhere.md")


def test_other_options_go_on_in_the_same_campaign_another_question_does_not(world: World) -> None:
    world.run()
    (view,) = list_campaigns(world.workspace)
    world.label("ann", longest_first)
    change_options(world.workspace, view.campaign.id, view.revision, {"lease_minutes": 5})
    result = world.run(more=", ask_note: true, hourly_cost: 30.0, overlap: 1".replace(", overlap: 1", ""))
    now = campaign_view(world.workspace, view.campaign.id)
    assert (now.options.ask_note, now.options.hourly_cost, now.options.lease_minutes) == (True, 30.0, 5)
    assert result.waiting == "0 of 3 tasks have 2 labels"
    assert now.num_labels == 3
    world.run(more=', question: "Which is kinder?"')
    assert {each.campaign.name for each in list_campaigns(world.workspace)} == {"labels", "labels (2)"}


def test_a_stage_with_other_completions_goes_on_with_its_people(world: World) -> None:
    waiting = world.run()
    assert (waiting.figures["campaign"], waiting.figures["num_people"]) == ("labels", 0)
    (first,) = list_campaigns(world.workspace)
    ann, bob = (create_account(world.workspace, name, "labeler", everywhere=False) for name in ("ann", "bob"))
    let_in(world.workspace, first.campaign.id, [ann.labeler_id])
    world.done["answers"] = replace(world.done["answers"], key="1")
    waiting = world.run()
    assert (waiting.figures["campaign"], waiting.figures["num_people"]) == ("labels (2)", 1)
    found = {view.campaign.name for view in list_campaigns(world.workspace, ann.labeler_id)}
    assert found == {"labels", "labels (2)"}
    assert list_campaigns(world.workspace, bob.labeler_id) == []
    world.run()
    assert len(list_campaigns(world.workspace)) == 2


def test_a_run_of_an_older_preflab_says_nothing_about_options_that_came_later(world: World) -> None:
    world.run()
    (view,) = list_campaigns(world.workspace)
    change_options(world.workspace, view.campaign.id, view.revision, {"open_to": "named"})
    ledger = world.workspace.runs / people.CAMPAIGNS
    entries = json.loads(ledger.read_text())
    for entry in entries.values():
        del entry["recipe"]
        entry["said"]["labelers"] = []
    write_json(ledger, entries)
    world.run()
    assert campaign_view(world.workspace, view.campaign.id).options.open_to == "named"


def test_a_later_round_that_an_older_preflab_has_made_is_opened_to_the_people_of_the_first(world: World) -> None:
    world.run()
    (first,) = list_campaigns(world.workspace)
    ann = create_account(world.workspace, "ann", "labeler", everywhere=False)
    let_in(world.workspace, first.campaign.id, [ann.labeler_id])
    world.done["answers"] = replace(world.done["answers"], key="1")
    world.run()
    with writing(world.workspace.engine) as connection:
        connection.execute(delete(LATER_ROUNDS))
        connection.execute(delete(MEMBERS).where(MEMBERS.c.campaign_id != first.campaign.id))
    assert len(list_campaigns(world.workspace, ann.labeler_id)) == 1
    world.run()
    assert len(list_campaigns(world.workspace, ann.labeler_id)) == 2


def test_what_is_most_worth_asking_comes_first_when_the_recipe_says_so(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a slow machine pages may reuse what was computed before the last labels; the order of the tasks must not.
    monkeypatch.setattr("preflab.labelling.counting.PATIENCE", 1e9)
    more = ", order: worth_asking"
    world.run(more=more)
    (view,) = list_campaigns(world.workspace)
    world.label("ann", longest_first, most=2)
    world.run(more=more)
    # Two of three tasks have ann's label: more is learned from the one that nobody has judged.
    last = next_turn(world.workspace, view.campaign.id, create_account(world.workspace, "bob", "labeler").labeler_id)
    assert last is not None
    assert last.task.id not in {judgment.task_id for judgment in world.workspace.judgments()}
    world.run(more=more)
    assert [event.what for event in list_events(world.workspace, 50)].count(
        "worths set"
    ) == 2  # nothing new, no third time


@pytest.mark.parametrize("more", [', question: "Which is kinder?"', ", polarity: -1"])
def test_answers_to_one_question_do_not_count_as_answers_to_another(world: World, more: str) -> None:
    world.run()
    for who in ("ann", "bob"):
        world.label(who, longest_first)
    assert world.run().waiting is None
    assert world.run(more=more).waiting == "0 of 3 tasks have 2 labels"
    assert world.run().waiting is None  # and the former question still has its answers


def test_scores_on_other_criteria_do_not_count(world: World) -> None:
    world.run(more=", way: likert, criteria: [kind, 'true']")
    for who in ("ann", "bob"):
        world.label(who, likert)
    assert world.run(more=", way: likert, criteria: [brief]").waiting == "0 of 3 tasks have 2 labels"
    assert world.run(more=", way: likert, criteria: ['true']").waiting is None  # these were given too


def test_gold_tasks_are_mixed_in_and_learned_from_by_nobody(world: World) -> None:
    gold = {"prompt": "1 + 1?", "completions": ["2", "3"], "ranks": [1, 2]}
    (world.folder / "gold.jsonl").write_text(json.dumps(gold) + "\n")
    world.run(more=", gold: gold.jsonl, gold_share: 0.5")
    (view,) = list_campaigns(world.workspace)
    assert (view.num_tasks, view.options.gold_share) == (3, 0.5)
    assert len(world.workspace.tasks(campaign_id=view.campaign.id)) == 4
    for who in ("ann", "bob"):
        world.label(who, lambda turn: longest_first(turn) if len(turn.completions) > 2 else RankingAnswer((1, 2)))
    assert world.run(more=", gold: gold.jsonl, gold_share: 0.5").summary == "6 judgments by 2 labelers"
    (world.folder / "gold.jsonl").write_text(json.dumps(gold | {"ranks": [1]}) + "\n")
    with pytest.raises(PreflabError, match="line 1"):
        world.run(more=", gold: gold.jsonl")


def test_gold_tasks_say_whose_answers_weigh(world: World) -> None:
    rows = [{"prompt": f"{n} + 1?", "completions": [str(n + 1), "0"], "ranks": [1, 2]} for n in range(4)]
    (world.folder / "gold.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    more = ", gold: gold.jsonl, gold_share: 0.0"
    world.run(more=more)
    world.label("ann", longest_first)
    world.label("bob", lambda turn: RankingAnswer((1, 2, 3, None)))  # the shortest first: even with ann on every pair
    assert world.run(more=more).figures["num_open_pairs"] == 9
    texts = {c.id: c.text for c in world.workspace.completions()}
    (view,) = list_campaigns(world.workspace)
    shown = [j for j in world.workspace.judgments() if j.created_at]
    for task in world.workspace.tasks(campaign_id=view.campaign.id):
        if len(task.completion_ids) == 2:
            right = tuple(2 if texts[i] == "0" else 1 for i in task.completion_ids)
            for account, ranks in zip(world.accounts, (right, right[::-1]), strict=True):
                said = replace(
                    shown[0], id=f"judgment-{account.name}-{task.id}", labeler_id=account.labeler_id, task_id=task.id,
                    prompt_id=task.prompt_id, completion_ids=task.completion_ids, shown_order=(0, 1),
                    answer=RankingAnswer(ranks),
                )  # fmt: skip
                world.workspace.put([said])
    result = world.run(more=more)
    assert (result.summary, result.figures["num_open_pairs"]) == ("6 judgments by 2 labelers", 0)
    world.run("prefs", more)
    snapshot = read_snapshot(world.runs("prefs") / "snapshot")
    assert [p.ranks for p in snapshot.preferences] == [(3, 2, 1, None)] * 3  # as ann says; no gold task among them
    table = json.loads((world.runs("prefs") / "agreement.json").read_text())["labelers"]
    assert [row["num_votes"] for row in table] == [13, 13]  # 3 · 3 pairs and 4 gold ones


def likert(turn: Turn) -> LikertAnswer:
    scores = tuple(None if c.text == "F" else min(5, 1 + 2 * len(c.text) - 1) for c in turn.completions)
    failed = tuple(c.text == "F" for c in turn.completions)
    return LikertAnswer({"kind": scores, "true": tuple(None if s is None else 3 for s in scores)}, failed)


def thumbs(turn: Turn) -> ThumbsAnswer:
    up = tuple(None if c.text == "F" else len(c.text) > 1 for c in turn.completions)
    return ThumbsAnswer(up, tuple(c.text == "F" for c in turn.completions))


def side(turn: Turn) -> SideBySideAnswer:
    first, second = (completion.text for completion in turn.completions)
    failed = (first == "F", second == "F")
    return SideBySideAnswer(
        "equal" if any(failed) else "first" if len(first) > len(second) else "second", failed=failed
    )


def best(turn: Turn) -> SideBySideAnswer:
    texts = [completion.text for completion in turn.completions]
    return SideBySideAnswer(None, texts.index("ccc"), tuple(text == "F" for text in texts))


def scored(turn: Turn) -> RankingAnswer:
    scores = tuple(None if c.text == "F" else 2 * len(c.text) for c in turn.completions)
    return replace(longest_first(turn), scores={"overall": scores})


@pytest.mark.parametrize(
    ("way", "more", "answer", "num_tasks"),
    [
        ("likert", ", criteria: [kind, 'true'], scale_ends: {kind: [rude, warm]}", likert, 3),
        ("thumbs", "", thumbs, 3),
        ("side_by_side", "", side, 18),
        ("best_of", "", best, 3),
        ("score_then_rank", ", scale_ends: {overall: [poor, good]}", scored, 3),
    ],
)
def test_every_way_goes_from_people_to_preferences(
    world: World, way: str, more: str, answer: Answers, num_tasks: int
) -> None:
    more = f", way: {way}{more}"
    assert world.run(more=more).waiting == f"0 of {num_tasks} tasks have 2 labels"
    for who in ("ann", "bob"):
        assert world.label(who, answer) == num_tasks
    assert world.run(more=more).summary == f"{2 * num_tasks} judgments by 2 labelers"
    world.run("prefs", more=more)
    snapshot = read_snapshot(world.runs("prefs") / "snapshot")
    best_ones = {
        snapshot.completions[p.completion_ids[chosen]].text
        for p in snapshot.preferences
        for chosen, _, _ in p.chosen_rejected()
    }
    assert best_ones <= {"bb", "ccc"}
    assert "ccc" in best_ones
    first = snapshot.preferences[0]
    texts = [snapshot.completions[i].text for i in first.completion_ids]
    if way == "thumbs":
        assert dict(zip(texts, first.thumbs, strict=True)) == {"a": 0.0, "bb": 1.0, "ccc": 1.0, "F": None}
    if way in ("likert", "score_then_rank"):
        name, expected = (
            ("kind", {"a": 2, "bb": 4, "ccc": 5}) if way == "likert" else ("overall", {"a": 2, "bb": 4, "ccc": 6})
        )
        assert dict(zip(texts, first.scores[name], strict=True)) == expected | {"F": None}


@pytest.mark.parametrize("way", ["ranking", "side_by_side", "best_of", "likert", "thumbs", "score_then_rank"])
@pytest.mark.parametrize("polarity", [1, -1])
def test_a_panel_answers_by_every_way(world: World, way: str, polarity: int) -> None:
    more = f", way: {way}, labelers: panel, polarity: {polarity}" + ", criteria: [kind]" * (way == "likert")
    result = world.run(more=more)
    assert result.waiting is None
    world.run("prefs", more=more)
    snapshot = read_snapshot(world.runs("prefs") / "snapshot")
    outcomes = [
        len(snapshot.completions[p.completion_ids[a]].text) - len(snapshot.completions[p.completion_ids[b]].text)
        for p in snapshot.preferences
        for a, b, _ in p.chosen_rejected()
    ]
    # best_of with polarity -1 names the worst one, so every pair still has the longer text first.
    assert outcomes
    assert all(difference > 0 for difference in outcomes)
    fails = [rank for p in snapshot.preferences for rank in p.ranks if rank is None]
    assert len(fails) == (9 if way == "side_by_side" else 3)


def test_rankings_from_a_spreadsheet_count_as_answers(world: World) -> None:
    world.run()
    rows = [
        {"prompt": f"question {n}?", "completions": ["ccc", "bb", "a", "F"], "ranks": [1, 2, 3, "F"], "labeler": who}
        for who in ("ann", "bob")
        for n in range(3)
    ]
    (world.folder / "r.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert import_into(world.workspace, world.folder / "r.jsonl").new == {"labeler": 2, "judgment": 6}
    assert world.run().summary == "6 judgments by 2 labelers"
    (view,) = list_campaigns(world.workspace)
    assert (view.num_done, view.num_labels) == (3, 6)  # nobody is asked again


def test_every_setting_is_read() -> None:
    """Each setting of the stage is an option of the campaign, or named in the code of the stage."""
    code = "".join(Path(module.__file__ or "").read_text() for module in (judge, people, people_inputs))
    for name in JudgeSettings.model_fields:
        if name in ("kind", "seed"):
            continue
        read = f"settings.{name}" in code or name in people_inputs.OF_THE_RECIPE
        assert read, name
    assert set(people_inputs.OF_THE_RECIPE) <= set(CampaignOptions.model_fields)


def test_what_makes_the_stage_stale(world: World) -> None:
    """Instructions, costs and the like are not in the key; a setting that came later is, once it is used."""

    def key(more: str) -> str:
        (world.folder / "recipe.yaml").write_text(RECIPE % more)
        return plan(load_recipe(world.folder / "recipe.yaml"), world.workspace.runs)["labels"].key

    (world.folder / "guide.md").write_text("# One")
    usual = key("")
    assert (
        key(", instructions: guide.md, ask_note: true, hourly_cost: 20.0, lease_minutes: 5.0, content: code") == usual
    )
    (world.folder / "guide.md").write_text("# Two")
    assert key(", instructions: guide.md, polarity: 1") == usual
    assert len({usual, key(", polarity: -1"), key(", way: best_of"), key(', question: "Which?"')}) == 4
    before_the_app = {"seed", "kind", "completions", "way", "labelers", "overlap", "question"}
    assert set(key_content(JudgeSettings(completions="answers"))) == before_the_app
