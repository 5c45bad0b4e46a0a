"""One reading of a campaign: recipe, app, adjudication, export and training read people's answers alike."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from preflab.errors import PreflabError
from preflab.files import write_json
from preflab.labelling.accounts import create_account
from preflab.labelling.adjudication import campaign_consensus, read_queue
from preflab.labelling.assignment import next_turn
from preflab.labelling.audit import list_events
from preflab.labelling.campaigns import campaign_view, change_options, list_campaigns
from preflab.labelling.errors import Invalid
from preflab.labelling.exporting import export_campaign
from preflab.labelling.needs import cost
from preflab.labelling.quality import campaign_quality
from preflab.labelling.reading import campaign_reading, overlap_warning, reading_words
from preflab.labelling.submissions import Submission, submit
from preflab.pipeline.planning import plan
from preflab.recipe import Recipe, load_recipe
from preflab.records import Completion, Prompt, RankingAnswer
from preflab.settings.feedback import MOST_LABELS
from preflab.stages import judge, preferences
from preflab.stages.base import StageContext, StageOutput, StageResult
from preflab.stages.preferences import check
from preflab.store.snapshots import read_snapshot
from preflab.store.workspace import Workspace

RECIPE = """
recipe: 1
data: {prompts: {path: prompts.jsonl}}
stages:
  answers: {kind: sample, model: nobody/nothing, prompts: prompts}
  labels: {kind: judge, completions: answers, overlap: 2%s}
  prefs: {kind: preferences, judgments: labels%s}
%s"""
NUM = 60


class World:
    """A workspace with sixty prompts and two completions each, and a recipe about them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.done = folder, dict[str, StageOutput]()
        prompts = [Prompt.make(text=f"question {n}?") for n in range(NUM)]
        (folder / "prompts.jsonl").write_text("".join(json.dumps({"prompt": p.text}) + "\n" for p in prompts))
        self.workspace = Workspace.open(folder, create=True)
        completions = [
            Completion.make(p.id, text, "model-x", index=n) for p in prompts for n, text in enumerate(("long", "bad"))
        ]
        self.workspace.put([*prompts, *completions])
        self.labelers: dict[str, str] = {}
        self.say()
        write_json(self.runs("answers") / "completions.json", [c.id for c in completions])

    def say(self, prefs: str = "", labels: str = "", more: str = "") -> Recipe:
        """What the recipe says from now on."""
        (self.folder / "recipe.yaml").write_text(RECIPE % (labels, prefs, more))
        self.recipe = load_recipe(self.folder / "recipe.yaml")
        return self.recipe

    def runs(self, name: str) -> Path:
        """The run folder of a stage, as the plan has it."""
        step = plan(self.recipe, self.workspace.runs)[name]
        step.folder.mkdir(exist_ok=True)
        self.done[name] = StageOutput(name, step.kind, step.key, step.folder, {})
        return step.folder

    def run(self, name: str) -> StageResult:
        folder = self.runs(name)
        module: Any = judge if name == "labels" else preferences
        found: StageResult = module.run(
            StageContext(
                name, self.recipe.stages[name], 7, folder, self.recipe, self.done, self.done, self.recipe.device,
                lambda: self.workspace,
            )
        )  # fmt: skip
        return found

    def key(self, name: str = "prefs") -> str:
        return plan(self.recipe, self.workspace.runs)[name].key

    @property
    def campaign_id(self) -> str:
        (view,) = list_campaigns(self.workspace)
        return view.campaign.id

    def judge(self, who: str, num: int, *, backwards: bool = False) -> None:
        """A person answers the next tasks: `long` is better, or worse for one who reads the scale backwards."""
        if who not in self.labelers:
            self.labelers[who] = create_account(self.workspace, who, "labeler").labeler_id
        for _ in range(num):
            turn = next_turn(self.workspace, self.campaign_id, self.labelers[who])
            assert turn is not None
            first = (turn.completions[0].text == "long") != backwards
            answer = RankingAnswer((1, 2) if first else (2, 1))
            key = f"{who}-{turn.task.id}"
            submit(self.workspace, Submission(key, turn.task.id, self.labelers[who], turn.revision, answer, 4000))

    def label(self) -> None:
        """Two labels on each of sixty tasks: 35 agreed, and 25 even splits with one who reads backwards.

        Tasks that lack one label are given out first, so who judges what follows from the order.
        """
        for who, num in (("ann", 18), ("bob", 18), ("ann", 17), ("cid", 17), ("ann", 12)):
            self.judge(who, num)
        self.judge("rev", 12, backwards=True)
        self.judge("bob", 13)
        self.judge("rev", 13, backwards=True)

    def change(self, **changes: Any) -> None:
        """A lead changes options in the app."""
        view = campaign_view(self.workspace, self.campaign_id)
        change_options(self.workspace, self.campaign_id, view.revision, changes, by="account-lead")


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr("preflab.labelling.counting.PATIENCE", 0.0)
    made = World(tmp_path)
    yield made
    made.workspace.close()


def num_open(world: World) -> dict[str, int]:
    """How many open pairs each reader of the campaign sees."""
    consensus = campaign_consensus(world.workspace, world.campaign_id)
    listed = json.loads((world.runs("labels") / "open.json").read_text())
    return {
        "adjudication": sum(len(task.pairs) for task in read_queue(world.workspace, world.campaign_id).open),
        "consensus": sum(len(each.unresolved) for each in consensus.values()),
        "run": sum(len(task["pairs"]) for task in listed),
        "undecided for cost": NUM - cost(world.workspace, world.campaign_id).num_pairs,
        "undecided for export": NUM
        - export_campaign(world.workspace, world.campaign_id, "trl-explicit")[1]["num_rows"],
    }


READERS = ("adjudication", "consensus", "run", "undecided for cost", "undecided for export")


def test_with_one_vote_each_adjudication_sees_every_even_split(world: World) -> None:
    world.say(", consensus: majority")
    waiting = world.run("labels").waiting
    assert waiting == "0 of 60 tasks have 2 labels; read with the settings of prefs: consensus majority"
    assert campaign_view(world.workspace, world.campaign_id).options.consensus == "majority"
    world.label()
    assert world.run("labels").summary == "120 judgments by 4 labelers; 25 pairs of 25 tasks await adjudication"
    assert num_open(world) == dict.fromkeys(READERS, 25)
    weights = {each.numbers.weight for each in campaign_quality(world.workspace, world.campaign_id).labelers}
    assert weights == {1.0}
    result = world.run("prefs")
    assert (result.figures["num_resolved"], result.figures["num_unresolved"]) == (35, 25)
    assert "as the campaign" not in result.summary
    snapshot = read_snapshot(world.runs("prefs") / "snapshot")
    assert snapshot.manifest["query"]["consensus"] == "majority"


def test_by_reliability_the_same_labels_leave_nothing_open(world: World) -> None:
    world.run("labels")
    world.label()
    world.run("labels")
    assert num_open(world) == dict.fromkeys(READERS, 0)
    assert world.run("prefs").figures["num_unresolved"] == 0


def test_what_a_lead_changes_is_audited_read_by_all_and_makes_the_stage_stale(world: World) -> None:
    world.run("labels")
    world.label()
    world.run("labels")
    before, labels = world.key(), world.key("labels")
    world.run("prefs")
    assert world.key() == before
    world.change(consensus="majority")
    event = list_events(world.workspace, limit=1)[0]
    assert (event.what, event.actor) == ("options changed", "account-lead")
    assert (event.old, event.new) == ({"consensus": "one_coin_em"}, {"consensus": "majority"})
    assert world.key() != before
    assert world.key("labels") == labels  # nobody is asked again
    result = world.run("prefs")
    assert result.figures["num_unresolved"] == 25
    assert result.summary.endswith("; changed by the campaign’s leads: consensus majority")
    world.change(consensus="one_coin_em")
    assert world.key() == before


def test_a_confirmed_reversal_is_part_of_the_reading(world: World) -> None:
    world.say(", consensus: majority")
    world.run("labels")
    world.label()
    world.run("labels")
    before = world.key()
    world.change(confirmed_reversed=(world.labelers["rev"],))
    world.run("labels")
    assert num_open(world) == dict.fromkeys(READERS, 0)
    assert world.key() != before
    result = world.run("prefs")
    assert result.figures["num_unresolved"] == 0
    assert result.summary.endswith("; changed by the campaign’s leads: 1 labeler reversed")
    written = json.loads((world.runs("prefs") / "agreement.json").read_text())
    app = campaign_quality(world.workspace, world.campaign_id).agreement
    assert written["agreement"]["value"] == app.strict.value == 1.0
    manifest = export_campaign(world.workspace, world.campaign_id, "trl-explicit")[1]
    assert manifest["selection"] == {
        "campaign": world.campaign_id, "consensus": "majority", "confirmed_reversed": [world.labelers["rev"]],
    }  # fmt: skip


def test_what_the_recipe_says_later_is_told_to_the_campaign_and_reads_it_once(world: World) -> None:
    world.run("labels")
    world.label()
    world.run("labels")
    world.run("prefs")
    world.say(", consensus: majority")
    key = world.key()
    assert world.run("prefs").figures["num_unresolved"] == 25
    assert world.key() == key  # telling the campaign makes nothing stale
    assert campaign_view(world.workspace, world.campaign_id).options.consensus == "majority"
    assert len(read_queue(world.workspace, world.campaign_id).open) == 25
    # What a lead makes of it holds until the recipe says something new.
    world.change(consensus="one_coin_em")
    assert world.run("prefs").figures["num_unresolved"] == 0
    world.run("labels")
    assert campaign_view(world.workspace, world.campaign_id).options.consensus == "one_coin_em"
    world.say(", consensus: majority, fail_share: 0.3")
    world.run("labels")
    options = campaign_view(world.workspace, world.campaign_id).options
    assert (options.consensus, options.fail_share) == ("one_coin_em", 0.3)


def test_two_stages_that_read_differently_leave_the_campaign_its_own(world: World) -> None:
    world.say("", more="  other: {kind: preferences, judgments: labels, consensus: majority}\n")
    waiting = world.run("labels").waiting
    assert (
        waiting
        == "0 of 60 tasks have 2 labels; prefs and other read it with different settings, and the campaign uses its own"
    )
    world.label()
    world.run("labels")
    assert campaign_view(world.workspace, world.campaign_id).options.consensus == "one_coin_em"
    found = {name: world.run(name).figures["num_unresolved"] for name in ("prefs", "other")}
    assert found == {"prefs": 0, "other": 25}
    before = world.key("other")
    world.change(confirmed_reversed=(world.labelers["rev"],))
    assert world.key("other") != before  # a reversal is true of a person, whoever reads


def test_a_campaign_older_than_the_record_is_read_as_it_always_was(world: World) -> None:
    """Rows and ledgers without the reading: the defaults, until the recipe asks for something else."""
    from sqlalchemy import select, update

    from preflab.labelling.tables import CAMPAIGN_STATES
    from preflab.settings.feedback import ReadingSettings
    from preflab.store.database import writing

    world.run("labels")
    names = ReadingSettings.model_fields
    ledger_path = world.workspace.runs / "campaigns.json"
    ledger = json.loads(ledger_path.read_text())
    for entry in ledger.values():
        entry["said"] = {key: value for key, value in entry["said"].items() if key not in names}
    write_json(ledger_path, ledger)
    with writing(world.workspace.engine) as connection:
        old = connection.execute(select(CAMPAIGN_STATES.c.settings)).scalar_one()
        settings = {key: value for key, value in old.items() if key not in names}
        connection.execute(update(CAMPAIGN_STATES).values(settings=settings))
    assert campaign_reading(world.workspace, world.campaign_id).consensus == "one_coin_em"
    world.change(fail_share=0.4)
    world.run("labels")
    assert campaign_view(world.workspace, world.campaign_id).options.fail_share == 0.4  # nothing new was said
    world.say(", consensus: majority")
    world.run("labels")
    assert campaign_reading(world.workspace, world.campaign_id).consensus == "majority"


def test_a_criterion_that_nobody_is_asked_for_is_refused_before_anything_runs(world: World) -> None:
    recipe = world.say(", criterion: kindness", ", way: likert, criteria: [warmth, truth]")
    with pytest.raises(PreflabError, match="labels asks for warmth, truth"):
        check(recipe, recipe.stages["prefs"])  # type: ignore[arg-type]
    with pytest.raises(Invalid, match="criterion is kindness"):
        world.run("labels")
    recipe = world.say(", criterion: truth", ", way: likert, criteria: [warmth, truth]")
    check(recipe, recipe.stages["prefs"])  # type: ignore[arg-type]
    world.run("labels")
    assert campaign_reading(world.workspace, world.campaign_id).criterion == "truth"


def test_a_run_says_once_what_the_overlap_cannot_decide(world: World, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        world.run("labels")
        world.run("labels")
    said = [record.getMessage() for record in caplog.records]
    assert said == [f"campaign labels: {overlap_warning(2)}"]


def test_what_an_overlap_cannot_decide_is_one_sentence() -> None:
    assert "nobody checks anybody" in overlap_warning(1)
    assert "every disagreement is an even split" in overlap_warning(2)
    assert overlap_warning(4).endswith("; 3 or 5 decide.")
    assert overlap_warning(MOST_LABELS).endswith("; 999 decide."), "1001 cannot be chosen"
    assert "3 or 5" in overlap_warning(4)
    assert [overlap_warning(num) for num in (3, 5, 7)] == ["", "", ""]
    for num in (1, 2, 4, 6):
        assert overlap_warning(num).count(".") == 1
        assert overlap_warning(num).endswith(".")


def test_a_reading_in_words(world: World) -> None:
    world.run("labels")

    def words() -> str:
        return reading_words(campaign_view(world.workspace, world.campaign_id).options)

    assert words() == "votes weighed by reliability (one-coin EM); F from 50\u00a0% of a task’s labels"
    world.change(
        consensus="majority", fail_share=0.25, order_rule="copeland", pairs_by="completion", level_scores=False
    )
    assert words() == (
        "one labeler, one vote; F from 25\u00a0% of a task’s labels; scores as they were given; "
        "equal texts judged as two; Copeland’s order"
    )
