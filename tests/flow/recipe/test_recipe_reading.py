"""Recipes that are right, and every way in which one can be wrong: file, setting, nearest name, what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from preflab.errors import PreflabError
from preflab.recipe import load_recipe
from toy_stages import Writer

TWO = "stages:\n  a: {kind: grow}\n  b: {kind: grow, model: a, nested: {width: 2}}\n"


def refused(path: Path, *overrides: str) -> PreflabError:
    """The error that loading this recipe raises."""
    with pytest.raises(PreflabError) as caught:
        load_recipe(path, overrides)
    return caught.value


def test_defaults_are_filled_in_and_the_resolved_recipe_reads_the_same(write_recipe: Writer, tmp_path: Path) -> None:
    import yaml

    recipe = load_recipe(write_recipe(TWO))
    assert recipe.stages["a"].num_steps == 3
    assert recipe.stages["b"].nested.width == 2.0
    again = tmp_path / "again.yaml"
    again.write_text(yaml.safe_dump(recipe.resolved()), encoding="utf-8")
    assert load_recipe(again).settings == recipe.settings


NUMBERS = {"1e-2": 0.01, "5E3": 5000.0, "2": 2.0, ".5": 0.5, "1.e1": 10.0}


@pytest.mark.parametrize(("written", "read"), NUMBERS.items())
def test_numbers_are_read_as_people_write_them(write_recipe: Writer, written: str, read: float) -> None:
    recipe = load_recipe(write_recipe(f"stages:\n  a: {{kind: grow, nested: {{width: {written}}}}}\n"))
    assert recipe.stages["a"].nested.width == read


WRONG = {
    "unknown setting": (
        "{kind: grow, num_step: 3}",
        "stages.a.num_step: unknown setting",
        "known settings near it: num_steps",
        "`preflab init --show grow` lists them all with their defaults",
    ),
    "unknown in a section": (
        "{kind: grow, nested: {widht: 3}}",
        "stages.a.nested.widht: unknown setting",
        "known settings near it: width",
        "--show grow",
    ),
    "unknown in a list": (
        "{kind: grow, parts: [{}, {widht: 3}]}",
        "stages.a.parts.1.widht: unknown setting",
        "known settings near it: width",
        "--show grow",
    ),
    "a text for a number": (
        "{kind: grow, num_steps: many}",
        "stages.a.num_steps: the text `many`",
        "expected a whole number",
        "--show grow",
    ),
    "a quoted number": (
        '{kind: grow, num_steps: "3"}',
        "stages.a.num_steps: the text `3`",
        "expected a whole number",
        "--show grow",
    ),
    "half a step": (
        "{kind: grow, num_steps: 2.5}",
        "stages.a.num_steps: the number 2.5",
        "expected a whole number",
        "--show grow",
    ),
    "yes for a number": (
        "{kind: grow, num_steps: yes}",
        "stages.a.num_steps: true (yes/no)",
        "expected a whole number",
        "--show grow",
    ),
    "a number for a switch": (
        "{kind: grow, flag: 1}",
        "stages.a.flag: the number 1",
        "expected true or false",
        "--show grow",
    ),
    "a list for a number": (
        "{kind: grow, num_steps: [1]}",
        "stages.a.num_steps: a list",
        "expected a whole number",
        "--show grow",
    ),
    "a word for a list": (
        "{kind: grow, ways: ranking}",
        "stages.a.ways: the text `ranking`",
        "expected a list",
        "--show grow",
    ),
    "a list item": (
        "{kind: grow, ways: [ranking, 3]}",
        "stages.a.ways.1: the number 3",
        "expected text",
        "--show grow",
    ),
    "a word for a section": (
        "{kind: grow, nested: wide}",
        "stages.a.nested: the text `wide`",
        "expected a mapping",
        "--show grow",
    ),
    "below the limit": (
        "{kind: grow, num_steps: 0}",
        "stages.a.num_steps: the number 0",
        "expected a number from 1",
        "--show grow",
    ),
    "on the limit": (
        "{kind: grow, nested: {width: 0}}",
        "stages.a.nested.width: the number 0",
        "expected a number above 0",
        "--show grow",
    ),
    "no such choice": (
        "{kind: grow, mode: quick}",
        "stages.a.mode: the text `quick`",
        "expected 'fast' or 'slow'",
        "--show grow",
    ),
    "nothing": ("", "stages.a: nothing", "a mapping with `kind` and its settings", "preflab init"),
    "missing": ("{kind: read}", "stages.a.of is missing", "Stages.", "--show read"),
    "no kind": ("{num_steps: 3}", "stages.a.kind is missing", "one of tiny, sft, ", "add `kind:` to a"),
    "unknown kind": ("{kind: groww}", "stages.a.kind: the text `groww`", "known kinds near it: grow", "--show all"),
    "unknown model": (
        "{kind: grow, model: bb}",
        "stages.a.model: no stage or folder `bb`",
        "near it: b",
        "correct the name",
    ),
    "a model that makes none": (
        "{kind: grow, model: c}",
        "stages.a.model: no stage that makes a model `c`",
        "known: a, b",
        "correct the name",
    ),
    "a folder that is not there": (
        "{kind: grow, model: ./models/none}",
        "stages.a.model: no such folder `./models/none`",
        "a stage, a folder relative to",
        "correct the path",
    ),
    "unknown data": ("{kind: grow, data: rwos}", "stages.a.data: no data `rwos`", "near it: rows", "correct the name"),
    "unknown split": (
        "{kind: grow, data: rows.trian}",
        "stages.a.data: no data `rows.trian`",
        "near it: rows.train",
        "correct the name",
    ),
    "nothing held out": (
        "{kind: grow, data: rows.held_out}",
        "stages.a.data: `rows.held_out`, but data.rows holds nothing out",
        "a share above 0 in data.rows.held_out",
        "add `held_out: 0.1` to data.rows",
    ),
    "unknown panel": (
        "{kind: grow, panel: pepole}",
        "stages.a.panel: no panel of labelers `pepole`",
        "near it: people",
        "correct the name",
    ),
    "no function": (
        "{kind: grow, function: rewards.polite}",
        "stages.a.function: `rewards.polite`",
        "`module:function`",
        "for example",
    ),
    "judgments of another kind": (
        "{kind: grow, judgments: b}",
        "stages.a.judgments: no stage that makes judgments `b`",
        "known: q",
        "correct the name",
    ),
    "itself": (
        "{kind: grow, model: b}",
        "they need each other in a cycle: a → b → a",
        "stages that can be put in order",
        "correct one of the names",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_setting_is_named_with_what_would_be_right(write_recipe: Writer, tmp_path: Path, name: str) -> None:
    stage, found, expected, do = WRONG[name]
    (tmp_path / "rows.jsonl").write_text('{"prompt": "Hi"}\n', encoding="utf-8")
    path = write_recipe(
        "data:\n  rows: {path: rows.jsonl}\n"
        f"stages:\n  a: {stage}\n  b: {{kind: grow, model: a}}\n  c: {{kind: read, of: [b]}}\n  q: {{kind: ask}}\n"
    )
    error = refused(path)
    assert found in error.found
    assert error.found.startswith((f"{path}, stages.a", f"{path}, stages: "))
    assert expected in error.expected
    assert do in error.do


WHOLE = {
    "an unknown section": ("stagse: {}\nstages: {a: {kind: grow}}", "stagse: unknown setting", "stages"),
    "no stages": ("seed: 1", "stages is missing", "Stages by name"),
    "empty stages": ("stages: {}", "stages: a mapping", "at least 1"),
    "stages as a list": ("stages: [a]", "stages: a list", "a mapping"),
    "another version": ("stages: {a: {kind: grow}}\nseed: -1", "seed: the number -1", "a number from 0"),
    "a doubled key": (
        "stages:\n  a: {kind: grow}\n  a: {kind: grow}",
        "line 4: the key `a` is already in line 3",
        "once",
    ),
    "a key that is no name": ("stages:\n  1: {kind: grow}", "the key 1 is not a name", "YAML"),
    "a name with a dot": ("stages:\n  a.b: {kind: grow}", "stages: the name `a.b`", "letters"),
    "not YAML": ("stages: {a: [}", "line 2", "YAML"),
    "not finite": (
        "stages: {a: {kind: grow, nested: {width: .inf}}}",
        ".inf is not a finite number",
        "a finite number",
    ),
    "missing data": ("data: {d: {path: none.jsonl}}\nstages: {a: {kind: grow}}", "data.d.path: no such file", "a file"),
    "data named like a stage": (
        "data: {a: {path: x}}\nstages: {a: {kind: grow}}",
        "`a` is both data and a stage",
        "different names",
    ),
    "unknown in data": ("data: {d: {pat: x}}\nstages: {a: {kind: grow}}", "data.d.pat: unknown setting", "path"),
    "unknown repeat": (
        "stages: {abc: {kind: grow}}\nrounds: {repeat: [abd]}",
        "rounds.repeat: no stage `abd`",
        "near it: abc",
    ),
    "rounds to base sixty": (
        "stages: {a: {kind: grow}}\nrounds: {num: 1:40}",
        "rounds.num: the text `1:40`",
        "a whole number",
    ),
    "half a character": (
        'data: {d: {path: x}}\nstages: {a: {kind: grow, model: "\\ud83d"}}',
        "line 3: half a character",
        "whole characters",
    ),
    "rounds of nothing": ("stages: {a: {kind: grow}}\nrounds: {num: 2}", "rounds.num: 2", "rounds.repeat"),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_wrong_recipe_is_refused(write_recipe: Writer, name: str) -> None:
    text, found, expected = WHOLE[name]
    error = refused(write_recipe(text))
    assert found in error.found
    assert expected in error.expected


def test_no_file_and_no_mapping(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "none.yaml").found
    (tmp_path / "list.yaml").write_text("- a\n", encoding="utf-8")
    assert "a list, not a mapping" in refused(tmp_path / "list.yaml").found
    (tmp_path / "latin.yaml").write_bytes(b"recipe: 1 # \xe9\n")
    assert "not UTF-8" in refused(tmp_path / "latin.yaml").found


def test_set_changes_scalars_lists_and_items(write_recipe: Writer) -> None:
    path = write_recipe("stages:\n  a: {kind: grow, parts: [{}, {}]}\n")
    overrides = [
        "stages.a.num_steps=7",
        "stages.a.ways=[x, y]",
        "stages.a.parts.1.width=1e1",
        "seed=5",
        "stages.a.nested.width=3",
    ]
    stage = load_recipe(path, overrides).stages["a"]
    assert (stage.num_steps, stage.ways, stage.parts[1].width, stage.nested.width) == (7, ("x", "y"), 10.0, 3.0)
    assert load_recipe(path, overrides).seed == 5
    assert load_recipe(path, ["stages.a.nested=null"]).stages["a"].nested is None


@pytest.mark.parametrize(
    ("override", "found", "expected"),
    [
        ("stages.a.num_step=3", "stages.a.num_step: unknown setting", "near it: num_steps"),
        ("stages.aa.num_steps=3", "has no stage `aa`", "near it: a"),
        ("stagse.a.num_steps=3", "has no section `stagse`", "near it: stages"),
        ("stages.a=3", "a whole entry of `stages`", "stages.a.setting=value"),
        ("stages.a.num_steps", "--set stages.a.num_steps", "`=` and a value"),
        ("stages..num_steps=1", "--set stages..num_steps=1", "a dotted path"),
        ("stages.a.num_steps.x=1", "stages.a.num_steps is the number 3", "a section or a list"),
        ("stages.a.parts.4.width=1", "`4`", "a position from 0 to 0"),
        ("stages.a.num_steps=[1", "--set stages.a.num_steps=[1", "YAML"),
        ("data.rows.path=x", "has no data `rows`", "known: none"),
    ],
)  # fmt: skip
def test_set_refuses_what_is_not_there(write_recipe: Writer, override: str, found: str, expected: str) -> None:
    error = refused(write_recipe("stages:\n  a: {kind: grow, num_steps: 3, parts: [{}]}\n"), override)
    assert found in error.found
    assert expected in error.expected


@pytest.mark.parametrize(
    "override",
    [
        "seed=" + "9" * 6000,
        "rounds=" + "[" * 5000,
        "x" * 2000 + "=1",
        f"stages.a.{'x' * 2000}=1",
        f"stages.{'x' * 2000}.y=1",
        "stages.a.num_steps." + "x" * 2000 + "=1",
        "stages.a.parts." + "9" * 5000 + "=1",
        "stages.a.num_steps=" + "9" * 5000 + ".0e5",
    ],
    ids=lambda override: override[:20],
)
def test_long_values_are_cut_where_they_are_refused(write_recipe: Writer, override: str) -> None:
    error = refused(write_recipe("stages:\n  a: {kind: grow, num_steps: 3, parts: [{}]}\n"), override)
    assert "…" in error.found
    assert all(len(line) < 500 for line in str(error).splitlines())


def test_long_names_are_refused_with_their_beginning(write_recipe: Writer) -> None:
    error = refused(write_recipe(f"stages:\n  {'x' * 1000}: {{kind: grow}}\n"))
    assert "has 1,000 characters" in error.found
    assert len(error.found) < 300


def test_a_hub_id_and_a_folder_are_allowed_where_a_model_is_wanted(write_recipe: Writer, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    path = write_recipe("stages:\n  one: {kind: grow, model: org/name}\n  two: {kind: grow, model: mine}\n")
    recipe = load_recipe(path)
    assert recipe.inputs("one") == []
    assert recipe.resolve("mine") == tmp_path / "mine"


ROUNDS = """
stages:
  sft: {kind: grow}
  answers: {kind: write, model: sft}
  labels: {kind: ask, completions: answers}
  ppo: {kind: grow, model: sft, judgments: labels, parts: [{model: sft}]}
  eval: {kind: read, of: [sft, ppo, ppo@1]}
rounds: {num: 3, repeat: [ppo, answers, labels]}
"""


def test_names_in_rounds(write_recipe: Writer) -> None:
    recipe = load_recipe(write_recipe(ROUNDS))
    repeated = ["answers", "labels", "ppo"]
    assert list(recipe.stages) == [
        "sft", *repeated, "eval", *(f"{name}@2" for name in repeated), *(f"{name}@3" for name in repeated),
    ]  # fmt: skip
    models = [recipe.stages[name].model for name in ("answers", "answers@2", "answers@3")]
    assert models == ["sft", "ppo", "ppo@2"]  # the previous round's last policy
    assert recipe.inputs("labels@2") == ["answers@2"]
    assert recipe.inputs("ppo@3") == ["sft", "labels@3"]  # its start stays
    assert recipe.inputs("eval") == ["sft", "ppo@3", "ppo"]  # outside, the last round's; ppo@1 is the first's


def test_a_sample_stage_of_this_rounds_policy_stays(write_recipe: Writer) -> None:
    text = ROUNDS.replace("model: sft}\n  labels", "model: ppo}\n  labels").replace("judgments: labels, ", "")
    recipe = load_recipe(write_recipe(text))
    assert recipe.stages["answers@2"].model == "ppo@2"


def test_seeds_follow_from_the_recipes_seed_and_the_name(write_recipe: Writer) -> None:
    import hashlib

    path = write_recipe("seed: 4\nstages:\n  a: {kind: grow}\n  b: {kind: grow, seed: 11}\n")
    recipe = load_recipe(path)
    assert recipe.stage_seed("a") == int.from_bytes(hashlib.sha256(b"4/a").digest()[:4], "big") // 2
    assert recipe.stage_seed("b") == 11
    assert load_recipe(path, ["seed=5"]).stage_seed("a") != recipe.stage_seed("a")


def test_chains_of_stages_of_any_length_are_put_in_order(write_recipe: Writer) -> None:
    """1,500 stages, the last one first in the file; a circle of fifty is named."""
    lines = [f"  s{i}: {{kind: grow, model: s{i - 1}}}\n" for i in range(1499, 0, -1)]
    recipe = load_recipe(write_recipe("stages:\n" + "".join(lines) + "  s0: {kind: grow}\n"))
    assert recipe.in_order() == [f"s{i}" for i in range(1500)]
    circle = refused(write_recipe("stages:\n" + "".join(lines[-50:]) + "  s0: {kind: grow, model: s50}\n"))
    assert "they need each other in a cycle: s50 → s49" in circle.found


def test_what_many_stages_read_is_looked_at_once(write_recipe: Writer) -> None:
    """Thirty stages that each read the one before twice are 2^30 ways to the first."""
    lines = [f"  s{i}: {{kind: grow, model: s{i - 1}, nested: {{model: s{i - 1}}}}}\n" for i in range(1, 30)]
    wide = [f"  r{i}: {{kind: read, of: [{', '.join(f'r{j}' for j in range(i)) or 's29'}]}}\n" for i in range(30)]
    recipe = load_recipe(write_recipe("stages:\n  s0: {kind: grow}\n" + "".join(lines + wide)))
    assert recipe.in_order() == list(recipe.stages)


def test_rounds_have_a_limit(write_recipe: Writer) -> None:
    rounds = "rounds: {num: 1000000, repeat: [a]}\n"
    error = refused(write_recipe(TWO + rounds))
    assert "rounds.num: the number 1000000" in error.found
    assert "100" in error.expected
