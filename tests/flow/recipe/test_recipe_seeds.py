"""`seeds` in a recipe: which stages are repeated, what their names mean elsewhere, their keys, and what is refused."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from preflab import pipeline
from preflab.errors import PreflabError
from preflab.recipe import Recipe, load_recipe
from toy_stages import Writer

LAB = """
data: {prompts: {path: prompts.jsonl, held_out: 0.5}, pairs: {path: pairs.jsonl}}
stages:
  sft:    {kind: sft, model: owner/base, data: pairs}
  rm:     {kind: reward, model: sft, preferences: pairs}
  ppo:    {kind: ppo, model: sft, prompts: prompts.train, rewards: [{model: rm}]}
  best:   {kind: best_of_n, model: ppo, prompts: prompts.held_out, rewards: [{model: rm}]}
  eval:   {kind: evaluate, models: [sft, ppo], completions: [best], prompts: prompts.held_out, rewards: [rm]}
  report: {kind: report, of: [rm, ppo, eval]}
"""
TOYS = """
stages:
  base: {kind: grow}
  tuned: {kind: grow, model: base, nested: {model: base}}
  last: {kind: grow, model: tuned, nested: {model: tuned}}
"""


@pytest.fixture
def write(write_recipe: Writer, tmp_path: Path) -> Writer:
    for name in ("prompts", "pairs"):
        (tmp_path / f"{name}.jsonl").write_text("{}\n", encoding="utf-8")
    return write_recipe


def load(write: Writer, seeds: str, stages: str = LAB) -> Recipe:
    return load_recipe(write(f"seeds: {seeds}\n{stages}"))


def test_a_list_repeats_the_policy_and_what_reads_it(write: Writer) -> None:
    recipe = load(write, "[0, 7]")
    assert list(recipe.stages) == [
        "sft", "rm", "ppo/seed-0", "ppo/seed-7", "best/seed-0", "best/seed-7", "eval", "report",
    ]  # fmt: skip
    assert recipe.stages["ppo/seed-7"].model == "sft"
    assert recipe.stages["best/seed-7"].model == "ppo/seed-7"
    assert recipe.stages["eval"].models == ("sft", "ppo/seed-0", "ppo/seed-7")
    assert recipe.stages["eval"].completions == ("best/seed-0", "best/seed-7")
    assert recipe.stages["report"].of == ("rm", "ppo/seed-0", "ppo/seed-7", "eval")
    assert recipe.seeded == {"ppo": ("ppo/seed-0", "ppo/seed-7"), "best": ("best/seed-0", "best/seed-7")}


def test_named_stages_are_repeated_with_what_reads_them(write: Writer) -> None:
    recipe = load(write, "{values: [1, 2], repeat: [rm]}")
    assert list(recipe.stages)[:5] == ["sft", "rm/seed-1", "rm/seed-2", "ppo/seed-1", "ppo/seed-2"]
    assert recipe.stages["ppo/seed-2"].rewards[0].model == "rm/seed-2"
    assert recipe.stages["eval"].rewards == ("rm/seed-1", "rm/seed-2")


def test_one_seed_may_be_named(write: Writer) -> None:
    recipe = load(write, "[0, 7]", LAB.replace("[sft, ppo]", "[sft, ppo/seed-7, ppo]"))
    assert recipe.stages["eval"].models == ("sft", "ppo/seed-7", "ppo/seed-0")


def test_the_seed_is_that_of_a_recipe_with_this_seed(write: Writer) -> None:
    repeated = load(write, "[0, 7]")
    alone = load_recipe(write("seed: 7\n" + LAB))
    assert repeated.stage_seed("ppo/seed-7") == alone.stage_seed("ppo")
    assert repeated.stage_seed("sft") == load_recipe(write(LAB)).stage_seed("sft")


def test_resolved_recipe_reads_the_same(write: Writer, tmp_path: Path) -> None:
    import yaml

    recipe = load(write, "[0, 7]")
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(recipe.resolved()), encoding="utf-8")
    assert load_recipe(tmp_path / "again.yaml").stages == recipe.stages


WRONG = {
    "a seed twice": ("[0, 1, 0]", LAB, "seeds: 0 is there twice", "remove one of them"),
    "no seed": ("[]", LAB, "seeds: an empty list", "seeds: [0, 1, 2]"),
    "a number": ("3", LAB, "seeds: the number 3", "seeds: [0, 1, 2]"),
    "a seed that is text": ("[0, one]", LAB, "seeds.values.1: the text `one`", "a whole number"),
    "a seed below zero": ("[0, -1]", LAB, "seeds.values.1: the number -1", "a number from 0"),
    "a word unknown": ("{values: [0], repeats: [ppo]}", LAB, "seeds.repeats: unknown setting", "repeat"),
    "a stage unknown": ("{values: [0], repeat: [pp]}", LAB, "seeds.repeat: no stage `pp`", "near it: ppo"),
    "an evaluation": ("{values: [0], repeat: [eval]}", LAB, "`eval` is of kind evaluate", "remove it"),
    "nothing to repeat": ("[0, 1]", TOYS, "seeds: no stage of kind dpo, ppo", "repeat: [STAGE]"),
    "a seed of its own": ("[0, 1]", LAB.replace("{kind: ppo,", "{kind: ppo, seed: 3,"), "ppo.seed: 3", "remove"),
    "a baseline per seed": ("[0, 1]", LAB.replace("[sft, ppo]", "[ppo, sft]"), "begins with ppo", "made once"),
    "a name alone": (
        "[0, 1]", LAB.replace("models: [sft, ppo]", "models: [sft, ppo], reference: ppo"),
        "eval.reference: `ppo` stands for 2 stages", "ppo/seed-0, ppo/seed-1",
    ),
    "a seed not made": ("[0, 1]", LAB.replace("[sft, ppo]", "[sft, ppo/seed-2]"), "`ppo/seed-2`", "add the seed"),
    "rounds too": ("[0, 1]", "rounds: {num: 2, repeat: [ppo]}\n" + LAB, "both seeds and rounds.num: 2", "--set seed=1"),
}  # fmt: skip


@pytest.mark.parametrize(("seeds", "stages", "found", "do"), WRONG.values(), ids=WRONG)
def test_what_does_not_fit_is_refused(write: Writer, seeds: str, stages: str, found: str, do: str) -> None:
    with pytest.raises(PreflabError) as caught:
        load(write, seeds, stages)
    assert found in caught.value.found
    assert do in f"{caught.value.expected} {caught.value.do}"


def test_a_seed_without_seeds_is_no_id_on_the_hub(write: Writer) -> None:
    with pytest.raises(PreflabError, match=r"`ppo/seed-1`, but the recipe makes ppo"):
        load_recipe(write(LAB.replace("[sft, ppo]", "[sft, ppo/seed-1]")))


def test_another_seed_leaves_finished_stages_alone(write: Writer, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        lines = pipeline.run(load(write, "{values: [5], repeat: [tuned]}", TOYS))
    assert [line.name for line in lines] == ["base", "tuned/seed-5", "last/seed-5"]
    assert "one seed gives no interval over seeds" in caplog.text
    assert lines[1].folder.name.startswith("tuned.seed-5-")
    more = load(write, "{values: [5, 6], repeat: [tuned]}", TOYS)
    assert [line.name for line in pipeline.run(more) if line.ran] == ["tuned/seed-6", "last/seed-6"]
    keys = {step.key for step in pipeline.plan(more, lines[0].folder.parent).values()}
    assert len(keys) == 5
    assert [line.name for line in pipeline.run(more, fresh=["tuned"]) if line.ran] == [
        "tuned/seed-5", "tuned/seed-6", "last/seed-5", "last/seed-6",
    ]  # fmt: skip


def test_an_interrupted_seed_is_continued(write: Writer, tmp_path: Path) -> None:
    recipe = load(write, "{values: [0, 1], repeat: [tuned]}", TOYS)
    pipeline.run(recipe, until=["tuned/seed-0"])
    (tmp_path / "stop-at").write_text("2 error", encoding="utf-8")
    with pytest.raises(RuntimeError):
        pipeline.run(recipe, until=["tuned"])
    (tmp_path / "stop-at").unlink()
    states = {line.name: line.summary for line in pipeline.show(recipe)}
    assert states["tuned/seed-1"] == "interrupted; the next run continues it"
    assert [line.name for line in pipeline.run(recipe, until=["tuned"]) if line.ran] == ["tuned/seed-1"]
    (folder,) = (tmp_path / "runs").glob("tuned.seed-1-*")
    assert len((folder / "lines.txt").read_text(encoding="utf-8").splitlines()) == 3
