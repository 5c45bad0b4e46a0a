"""`preflab init --model --data`: a recipe that runs as it stands, assumptions said, and what does not fit refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModel

from preflab.cli import run_command
from preflab.recipe import Recipe, load_recipe
from preflab.stages.common.data import read_demonstrations, read_prompts, split_share
from starter_world import FILES, demonstrations, pairs, ratings, save_encoder, save_model, thumbs, write_rows

Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A chat model, one whose template takes no system turn, and a base model."""
    folder = tmp_path_factory.mktemp("models")
    return {name: save_model(folder / name.replace(" ", "-"), name) for name in ("chatml", "gemma", "no template")}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def made(capsys: Captured, model: Path, data: str, *more: str) -> tuple[Recipe, dict[str, Any]]:
    """The recipe that is written, loaded, and what the command says as JSON."""
    capsys.readouterr()
    assert run_command(["init", "--model", str(model), "--data", data, *more, "--json"]) == 0
    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    return load_recipe(Path(said["result"])), said


def refused(capsys: Captured, *words: str) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as leaving:
        run_command(["init", *words])
    assert leaving.value.code == 2
    return " ".join(capsys.readouterr().err.split())


def about(said: dict[str, Any], topic: str) -> str:
    return " ".join(each["said"] for each in said["assumptions"] if each["about"] == topic)


def test_what_is_advised_for_unknown_columns_can_be_typed(
    here: Path, models: dict[str, Path], capsys: Captured
) -> None:
    """The columns are renamed in the recipe, too, so that its stages read what was looked at."""
    lines = [f"where is it? {number},here it is,no" for number in range(30)]
    (here / "odd.csv").write_text("\n".join(["ask,good,bad", *lines]) + "\n", encoding="utf-8")
    words = ["--model", str(models["chatml"]), "--data", "odd.csv"]
    advice = "--column ask=prompt --column good=chosen --column bad=rejected --format trl-explicit"
    assert refused(capsys, *words).endswith(advice)
    recipe, said = made(capsys, models["chatml"], "odd.csv", *advice.split())
    assert (said["kind"], said["data"]["pairs"]) == ("dpo", 30)
    settings = recipe.settings.data["pairs"]
    assert settings.format == "trl-explicit"
    assert settings.columns == {"ask": "prompt", "good": "chosen", "bad": "rejected"}
    assert len(read_prompts(recipe, "pairs")) == 30
    assert "--column ask" in refused(capsys, *words, "--column", "ask")
    assert "init without --model and --data" in refused(capsys, "--format", "trl-explicit")


# What the data are decides the kind


@pytest.mark.parametrize(
    ("data", "model", "kind", "stages"),
    [
        ("pairs", "chatml", "dpo", ["dpo", "judge", "eval", "report"]),
        ("turn_pairs", "gemma", "dpo", ["dpo", "judge", "eval", "report"]),
        ("demonstrations", "gemma", "sft", ["sft", "eval", "report"]),
        ("answers", "no template", "grpo", ["grpo", "eval", "report"]),
        ("ratings", "chatml", "ppo", ["rm", "ppo", "eval", "report"]),
        ("thumbs", "no template", "dpo", ["dpo", "eval", "report"]),
    ],
)
def test_the_kind_is_what_such_data_are_for(
    here: Path, models: dict[str, Path], capsys: Captured, data: str, model: str, kind: str, stages: list[str]
) -> None:
    write_rows(here / "data.jsonl", FILES[data]())
    recipe, said = made(capsys, models[model], "data.jsonl")
    assert said["kind"] == kind
    assert recipe.device.precision == "float32"
    assert list(recipe.stages) == stages
    assert said["data"]["rows"] == len(FILES[data]())
    assert {each["about"] for each in said["assumptions"]} >= {"data", "model", "lengths", "kind", "held out", "memory"}
    text = (here / "recipe.yaml").read_text(encoding="utf-8")
    for each in said["assumptions"]:  # all of it stands above the recipe, too
        assert each["said"].split()[-1] in text


@pytest.mark.parametrize(
    ("data", "kind", "stages"),
    [
        ("pairs", "reward", ["rm", "report"]),
        ("pairs", "ppo", ["rm", "ppo", "eval", "report"]),
        ("pairs", "grpo", ["rm", "grpo", "eval", "report"]),
        ("ratings", "dpo", ["dpo", "eval", "report"]),
        ("answers", "ppo", ["ppo", "eval", "report"]),
    ],
)
def test_another_kind_can_be_named(
    here: Path, models: dict[str, Path], capsys: Captured, data: str, kind: str, stages: list[str]
) -> None:
    write_rows(here / "data.jsonl", FILES[data]())
    recipe, _ = made(capsys, models["chatml"], "data.jsonl", "--kind", kind)
    assert list(recipe.stages) == stages


@pytest.mark.parametrize(
    ("rows", "kind", "why"),
    [
        (demonstrations(), "ppo", "PPO needs a reward, and demonstrations give none"),
        (demonstrations(), "dpo", "there are no comparisons"),
        (pairs(), "sft", "the preferred completion is not always good enough to imitate"),
        (thumbs(), "reward", "good and bad are neither comparisons nor scores"),
        (pairs(), "pppo", "one of dpo, reward, ppo, grpo, sft"),
        ([{"prompt": f"Where is {i}?"} for i in range(9)], None, "a reward for these prompts: a column `answer`"),
        ([{"prompt": f"Where is {i}?"} for i in range(9)], "grpo", "--kind grpo needs more"),
        ([{"prompt": f"Where is {i}?", "label": "safe"} for i in range(9)], None, "prompts alone"),
        (pairs(3), None, "at least 4: two or more to learn from"),
        ([row | {"label": True} for row in thumbs()], None, "all of them good"),
        ([{**row, "chosen": "a.png", "rejected": "b.png"} for row in pairs()], None, "completions are images"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(
    here: Path, models: dict[str, Path], capsys: Captured, rows: list[dict[str, Any]], kind: str | None, why: str
) -> None:
    write_rows(here / "data.jsonl", rows)
    more = ["--kind", kind] if kind else []
    assert why in refused(capsys, "--model", str(models["chatml"]), "--data", "data.jsonl", *more)
    assert not (here / "recipe.yaml").exists()


def test_an_encoder_can_only_score(here: Path, capsys: Captured) -> None:
    save_encoder(here / "bert")
    write_rows(here / "data.jsonl", pairs())
    assert "bert (bert) cannot generate text: no language-model head, or not causal" in refused(
        capsys, "--model", "bert", "--data", "data.jsonl"
    )
    recipe, said = made(capsys, Path("bert"), "data.jsonl", "--kind", "reward")
    assert list(recipe.stages) == ["rm", "report"]
    assert "which can only score" in about(said, "model")


def test_conversations_for_a_base_model_are_refused(here: Path, models: dict[str, Path], capsys: Captured) -> None:
    write_rows(here / "data.jsonl", demonstrations())
    complaint = refused(capsys, "--model", str(models["no template"]), "--data", "data.jsonl")
    assert f"{models['no template']} refuses 24 of 24 rows (" in complaint


def test_model_and_data_go_together(here: Path, capsys: Captured) -> None:
    assert "init without --data FILE" in refused(capsys, "--model", "m")
    assert "init without --model FOLDER" in refused(capsys, "--data", "d")
    assert "init without --model and --data" in refused(capsys, "--kind", "dpo")


# What the recipe says


def test_texts_go_through_the_template_of_a_chat_model(here: Path, models: dict[str, Path], capsys: Captured) -> None:
    write_rows(here / "data.jsonl", pairs())
    recipe, said = made(capsys, models["chatml"], "data.jsonl")
    assert recipe.data["pairs"].as_turns
    assert "become user turns" in about(said, "model")
    (prompt, *_) = read_prompts(recipe, "pairs.train")
    assert [message.role for message in prompt.messages] == ["user"]
    plain, said = made(capsys, models["no template"], "data.jsonl", "--recipe", "plain.yaml")
    assert not plain.data["pairs"].as_turns
    assert "texts are used as they are" in about(said, "model")


def test_as_many_are_held_out_as_is_said(here: Path, models: dict[str, Path], capsys: Captured) -> None:
    for model in ("chatml", "no template"):
        write_rows(here / "data.jsonl", pairs(60))
        recipe, said = made(capsys, models[model], "data.jsonl", "--recipe", f"{model[:2]}.yaml")
        held_out, train = (read_prompts(recipe, f"pairs.{part}") for part in ("held_out", "train"))
        assert said["data"]["held_out"] == len(held_out)
        assert f"{len(held_out)} of {len(held_out) + len(train)} prompts are held out" in about(said, "held out")


def test_many_comparisons_give_a_judge_that_the_policy_never_saw(
    here: Path, models: dict[str, Path], capsys: Captured
) -> None:
    rows = [{"prompt": f"Where is {i}?", "chosen": " Here.", "rejected": " No."} for i in range(600)]
    write_rows(here / "data.jsonl", rows)
    recipe, said = made(capsys, models["chatml"], "data.jsonl", "--kind", "ppo")
    assert list(recipe.stages) == ["rm", "ppo", "judge", "eval", "report"]
    assert recipe.stages["rm"].preferences == "pairs.train"  # type: ignore[attr-defined]
    assert recipe.stages["judge"].preferences == "pairs.held_out"  # type: ignore[attr-defined]
    assert recipe.stages["eval"].rewards == ("rm", "judge")  # type: ignore[attr-defined]
    assert said["data"]["held_out"] >= 100


def test_criteria_of_which_more_is_not_better_are_left_out(
    here: Path, models: dict[str, Path], capsys: Captured
) -> None:
    write_rows(here / "data.jsonl", ratings())
    recipe, said = made(capsys, models["chatml"], "data.jsonl")
    assert recipe.stages["rm"].criteria == {"helpfulness": 1.0}  # type: ignore[attr-defined]
    assert "Not rewarded: verbosity (more of it is not better)" in about(said, "kind")


def rated_by(*criteria: str) -> list[dict[str, Any]]:
    return [
        {"prompt": f"Where is {i:02d}?", "completion": f" At {i}.", **dict.fromkeys(criteria, i % 9 / 10)}
        for i in range(30)
    ]


@pytest.mark.parametrize("kind", ["ppo", "grpo", "dpo"])
@pytest.mark.parametrize(
    ("criteria", "means"),
    [
        (["toxicity"], "toxicity (more of it is worse)"),
        (["harm_score"], "harm_score (more of it is worse)"),
        (["verbosity"], "verbosity (more of it is not better)"),
        (["error_rating", "length_score"], "error_rating (more of it is worse) and length_score"),
    ],
)
def test_criteria_that_nobody_wants_more_of_are_not_maximised(
    here: Path, models: dict[str, Path], capsys: Captured, criteria: list[str], means: str, kind: str
) -> None:
    write_rows(here / "data.jsonl", rated_by(*criteria))
    complaint = refused(capsys, "--model", str(models["chatml"]), "--data", "data.jsonl", "--kind", kind)
    assert means in complaint
    assert f"--set stages.rm.criteria.{criteria[0]}=-1" in complaint
    assert not (here / "recipe.yaml").exists()


def test_a_negative_weight_rewards_less_of_a_criterion(here: Path, models: dict[str, Path], capsys: Captured) -> None:
    """The judge of the evaluation weighs as the training reward does."""
    rows = [{"prompt": f"Q{i}?", "completion": f" A{i}.", "toxicity": i % 9 / 10} for i in range(600)]
    write_rows(here / "data.jsonl", rows)
    change = "--set=stages.rm.criteria.toxicity=-1"
    recipe, _ = made(capsys, models["no template"], "data.jsonl", change)
    assert recipe.stages["rm"].criteria == recipe.stages["judge"].criteria == {"toxicity": -1.0}  # type: ignore[attr-defined]


def test_a_rating_model_of_toxicity_says_that_more_is_worse(
    here: Path, models: dict[str, Path], capsys: Captured
) -> None:
    write_rows(here / "data.jsonl", rated_by("toxicity"))
    recipe, said = made(capsys, models["chatml"], "data.jsonl", "--kind", "reward")
    assert recipe.stages["rm"].criteria == {}  # type: ignore[attr-defined]
    assert "toxicity (more of it is worse)" in about(said, "kind")
    assert "criteria: {toxicity: -1.0}" in about(said, "kind")


def rated(*scores: dict[str, float], num: int = 30) -> list[dict[str, Any]]:
    """One completion per prompt; the scores in turn."""
    return [{"prompt": f"Where is {i:02d}?", "completion": f" At {i}.", **scores[i % len(scores)]} for i in range(num)]


def one_of(rows: list[dict[str, Any]], place: int, **other: Any) -> list[dict[str, Any]]:
    """The rows, one of them changed."""
    return [row | other if number == place else row for number, row in enumerate(rows)]


def held_out_place(rows: list[dict[str, Any]], share: float) -> int:
    """The first row that is held out of such a file."""
    return next(number for number, row in enumerate(rows) if split_share({"prompt": row["prompt"]}) < share)


SAME = rated({"score": 5.0})
EMPTY = [{"prompt": f"Q{i}?", "completion": "", "score": 1 + i % 5} for i in range(30)]
LONG = [{"prompt": f"Q{i}?", "completion": " x" * 150} for i in range(30)]
TIED = [{"prompt": f"Q{i:02d}?", "response_a": "a", "response_b": "b", "winner": "tie"} for i in range(30)]


@pytest.mark.parametrize(
    ("rows", "more", "why"),
    [
        (SAME, [], "ratings by score to learn from, all of them equal"),
        (SAME, ["--kind", "reward"], "all of them equal"),
        (SAME, ["--kind", "dpo"], "nothing to learn from in its part `train`"),
        (one_of(SAME, held_out_place(SAME, 0.1), score=1.0), [], "all of them equal"),
        (TIED, [], "all of them ties"),
        (one_of(TIED, held_out_place(TIED, 0.1), winner="a"), [], "nothing to learn from in its part `train`"),
        (LONG, [], "no row of its part `train` fits"),
        ([{"prompt": "Where?", "completion": f" {i}", "score": i % 5} for i in range(30)], [], "1 different prompts"),
        ([{"prompt": "Where?", "completion": f" {i}"} for i in range(30)], [], "1 different prompts"),
    ],
)
def test_what_run_would_refuse_of_the_data_is_refused_first(
    here: Path, models: dict[str, Path], capsys: Captured, rows: list[dict[str, Any]], more: list[str], why: str
) -> None:
    write_rows(here / "data.jsonl", rows)
    assert why in refused(capsys, "--model", str(models["no template"]), "--data", "data.jsonl", *more)
    assert not (here / "recipe.yaml").exists()


def ran(capsys: Captured, recipe: Recipe) -> list[str]:
    """The states of the stages."""
    shorter = [f"--set=stages.{name}.num_steps=1" for name in ("ppo", "grpo") if name in recipe.stages]
    capsys.readouterr()
    assert run_command(["run", "--json", "--set=device.threads=1", *shorter]) == 0
    return [stage["state"] for stage in json.loads(capsys.readouterr().out)["stages"]]


def test_a_criterion_whose_ratings_are_all_the_same_is_left_out(
    here: Path, models: dict[str, Path], capsys: Captured
) -> None:
    write_rows(here / "data.jsonl", rated({"helpfulness": 1, "honesty": 3}, {"helpfulness": 4, "honesty": 3}))
    recipe, said = made(capsys, models["no template"], "data.jsonl", "--kind", "reward")
    assert recipe.stages["rm"].criteria == {"helpfulness": 1.0}  # type: ignore[attr-defined]
    assert "Left out: honesty, whose ratings are all equal" in about(said, "kind")
    assert set(ran(capsys, recipe)) == {"done"}


@pytest.mark.parametrize("model", ["chatml", "no template"])
def test_empty_completions_can_be_rated(here: Path, models: dict[str, Path], capsys: Captured, model: str) -> None:
    write_rows(here / "data.jsonl", EMPTY)
    recipe, _ = made(capsys, models[model], "data.jsonl", "--kind", "reward")
    assert set(ran(capsys, recipe)) == {"done"}


@pytest.mark.parametrize("model", ["chatml", "no template"])
def test_texts_are_learned_as_they_stand(here: Path, models: dict[str, Path], capsys: Captured, model: str) -> None:
    write_rows(here / "data.jsonl", [{"text": f"Once upon a time there were {i}."} for i in range(30)])
    recipe, said = made(capsys, models[model], "data.jsonl")
    assert list(recipe.stages) == ["sft", "report"]
    assert "30 texts." in about(said, "data")
    parts = [len(read_demonstrations(recipe, f"texts.{part}")) for part in ("held_out", "train")]
    assert (said["data"]["held_out"], sum(parts)) == (parts[0], 30)
    assert f"{parts[0]} of 30 texts are held out" in about(said, "held out")
    assert set(ran(capsys, recipe)) == {"done"}


def test_few_prompts_are_not_halved_where_three_tenths_will_do(
    here: Path, models: dict[str, Path], capsys: Captured
) -> None:
    rows = [{"prompt": f"P{i}?", "completion": " A."} for i in range(100)]
    places = {row["prompt"]: split_share({"prompt": row["prompt"]}) for row in rows}
    high = [row for row in rows if places[row["prompt"]] > 0.5][:8]
    write_rows(here / "data.jsonl", high + [row for row in rows if 0.2 < places[row["prompt"]] < 0.3][:2])
    recipe, said = made(capsys, models["no template"], "data.jsonl")
    assert (recipe.data["demonstrations"].held_out, said["data"]["held_out"]) == (0.3, 2)


@pytest.mark.parametrize(
    ("num", "share", "why"),
    [(4, 0.5, "an evaluation"), (60, 0.2, "an evaluation"), (600, 0.2, "a judge to learn from"), (1500, 0.1, "")],
)
def test_a_share_above_the_usual_one_is_explained(
    here: Path, models: dict[str, Path], capsys: Captured, num: int, share: float, why: str
) -> None:
    rows = pairs(num)
    num_usual = sum(split_share({"prompt": row["prompt"]}) < 0.1 for row in rows)
    write_rows(here / "data.jsonl", rows)
    recipe, said = made(capsys, models["chatml"], "data.jsonl")
    assert recipe.data["pairs"].held_out == share
    reason = f"It is raised to {share}, since 0.1 would hold out {num_usual} of {num} prompts, too few for {why}."
    sentence = f"The usual share is 0.1. {reason} Lower it when you add rows."
    text = " ".join((here / "recipe.yaml").read_text(encoding="utf-8").replace("\n#  ", "").split())
    assert (sentence in about(said, "held out"), sentence in text) == (bool(why), bool(why))
    assert why or "usual share" not in text


def test_rows_that_cannot_be_used_are_named_and_left_out(here: Path, models: dict[str, Path], capsys: Captured) -> None:
    rows = pairs()
    rows[5]["prompt"] = 7
    write_rows(here / "data.jsonl", rows)
    recipe, said = made(capsys, models["chatml"], "data.jsonl")
    assert recipe.data["pairs"].skip_bad
    assert "1 row is unusable and left out (`skip_bad`), first line 6" in about(said, "data")


def test_prompts_and_rows_that_are_too_long_are_left_out(here: Path, capsys: Captured) -> None:
    model = save_model(here / "short", "chatml", context=50)
    rows = pairs()
    rows[3]["chosen"] = "x" * 60
    rows[4]["prompt"] = "Where is 04, my dear?"
    write_rows(here / "data.jsonl", rows)
    recipe, said = made(capsys, model, "data.jsonl", "--kind", "ppo")
    assert recipe.stages["ppo"].too_long == "leave_out"  # type: ignore[attr-defined]
    assert recipe.stages["eval"].too_long == "leave_out"  # type: ignore[attr-defined]
    assert recipe.stages["rm"].too_long == "leave_out"  # type: ignore[attr-defined]
    assert "2 rows are longer than the context" in about(said, "lengths")
    assert "1 prompt is left out: no room" in about(said, "lengths")


LONG_OF = {
    "pairs": "8 rows are longer than the context and left out (`too_long`).",
    "turn_pairs": "8 rows are longer than the context and left out (`too_long`).",
    "demonstrations": "8 rows are longer than the context and left out (`too_long`).",
    "ratings": "16 rated completions are longer than the context and left out (`too_long`).",
    "thumbs": "8 prompts are left out, with a completion longer than the context (`too_long`).",
}


def lengthened(row: dict[str, Any]) -> dict[str, Any]:
    """The row with 200 letters more in what is asked."""
    return json.loads(json.dumps(row).replace("Where is", "x" * 200 + " Where is"))  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", LONG_OF)
def test_rows_that_are_too_long_are_counted_as_the_stages_leave_them_out(
    here: Path, models: dict[str, Path], capsys: Captured, name: str
) -> None:
    """Eight of 24 prompts are longer than the context, and with them all their completions."""
    rows = FILES[name]()
    num = 8 * len(rows) // 24
    write_rows(here / "data.jsonl", [*map(lengthened, rows[:num]), *rows[num:]])
    _, said = made(capsys, models["chatml"], "data.jsonl")
    assert LONG_OF[name] in about(said, "lengths")
    assert LONG_OF[name] in " ".join((here / "recipe.yaml").read_text(encoding="utf-8").replace("\n#  ", "").split())


def test_what_was_not_measured_may_be_too_long(
    here: Path, models: dict[str, Path], capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("preflab.starter.lengths.MEASURED", 6)
    write_rows(here / "data.jsonl", pairs())
    recipe, said = made(capsys, models["chatml"], "data.jsonl", "--kind", "ppo")
    assert {recipe.stages[name].too_long for name in ("rm", "ppo", "eval")} == {"leave_out"}  # type: ignore[attr-defined]
    assert "(6 measured)" in about(said, "lengths")


def test_a_long_file_is_read_in_part_and_the_part_is_what_is_held_out_of(
    here: Path, models: dict[str, Path], capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("preflab.starter.data_look.MOST_ROWS", 30)
    write_rows(here / "data.jsonl", pairs(60))
    recipe, said = made(capsys, models["chatml"], "data.jsonl")
    assert recipe.data["pairs"].limit == 30
    assert "30 rows read (the first 30)" in about(said, "data")
    assert "The first run reads 30 rows" in about(said, "first run")
    parts = [len(read_prompts(recipe, f"pairs.{part}")) for part in ("held_out", "train")]
    assert (said["data"]["held_out"], sum(parts)) == (parts[0], 30)


def test_rows_that_the_template_cannot_write_are_refused_before_a_recipe_is_written(
    here: Path, models: dict[str, Path], capsys: Captured
) -> None:
    """A Gemma template takes no system turn."""
    rows = demonstrations()
    rows[7]["messages"].insert(0, {"role": "system", "content": "Be kind."})
    write_rows(here / "data.jsonl", rows)
    complaint = refused(capsys, "--model", str(models["gemma"]), "--data", "data.jsonl")
    assert f"{models['gemma']}'s template refuses 1 of 24 rows (" in complaint
    assert "move its text into the first user turn, or remove it" in complaint
    assert "line 8" in complaint
    assert not (here / "recipe.yaml").exists()


def test_one_prompt_asked_many_times_cannot_be_split(here: Path, models: dict[str, Path], capsys: Captured) -> None:
    write_rows(here / "data.jsonl", [{"question": "1 + 1?", "answer": f"#### {i}"} for i in range(9)])
    complaint = refused(capsys, "--model", str(models["chatml"]), "--data", "data.jsonl")
    assert "1 different prompts" in complaint


def test_the_first_split_of_a_folder_is_learned_from(here: Path, models: dict[str, Path], capsys: Captured) -> None:
    (here / "set").mkdir()
    for split, num in (("train", 24), ("test", 6)):
        write_rows(here / "set" / f"{split}.jsonl", pairs(num))
    recipe, said = made(capsys, models["chatml"], "set")
    assert (recipe.data["pairs"].split, said["data"]["rows"]) == ("train", 24)
    assert "Other splits are not used: test" in about(said, "data")
    recipe, said = made(capsys, models["chatml"], "set", "--split", "test", "--recipe", "other.yaml")
    assert (recipe.data["pairs"].split, said["data"]["rows"]) == ("test", 6)


def test_a_recipe_elsewhere_finds_model_and_data(here: Path, capsys: Captured) -> None:
    save_model(here / "model", "chatml")
    (here / "my data").mkdir()
    write_rows(here / "my data" / "d.jsonl", FILES["answers"]())
    (here / "work").mkdir()
    recipe, said = made(capsys, Path("model"), "my data/d.jsonl", "--recipe", "work/recipe.yaml")
    assert recipe.data["prompts"].path == "../my data/d.jsonl"
    assert recipe.stages["grpo"].model == "../model"  # type: ignore[attr-defined]
    assert said["files"] == ["work/answer_rewards.py", "work/recipe.yaml"]


def test_nothing_is_overwritten_and_nothing_half_written(here: Path, models: dict[str, Path], capsys: Captured) -> None:
    write_rows(here / "data.jsonl", FILES["answers"]())
    (here / "answer_rewards.py").write_text("mine\n")
    complaint = refused(capsys, "--model", str(models["chatml"]), "--data", "data.jsonl")
    assert "answer_rewards.py exists already" in complaint
    assert (here / "answer_rewards.py").read_text() == "mine\n"
    assert not (here / "recipe.yaml").exists()


def test_settings_given_at_once_stand_in_the_recipe(here: Path, models: dict[str, Path], capsys: Captured) -> None:
    write_rows(here / "data.jsonl", pairs())
    recipe, _ = made(capsys, models["chatml"], "data.jsonl", "--set", "stages.dpo.num_epochs=3")
    assert recipe.stages["dpo"].num_epochs == 3  # type: ignore[attr-defined]


# Memory


def test_less_memory_means_smaller_batches_and_then_a_refusal(
    here: Path, models: dict[str, Path], capsys: Captured
) -> None:
    """A Llama of 50 million parameters as its configuration says; no weights are read."""
    model = save_model(here / "model", "chatml")
    config = json.loads((model / "config.json").read_text())
    config |= {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 8}
    config["num_key_value_heads"] = 8
    (model / "config.json").write_text(json.dumps(config))
    write_rows(here / "data.jsonl", pairs())
    roomy, _ = made(capsys, model, "data.jsonl", "--memory", "64", "--recipe", "a.yaml")
    tight, said = made(capsys, model, "data.jsonl", "--memory", "2", "--recipe", "b.yaml")
    tokens = [recipe.stages["dpo"].optimiser.tokens_per_micro_batch for recipe in (roomy, tight)]  # type: ignore[attr-defined]
    assert tokens[0] == 4096
    assert tokens[1] < 4096
    assert said["memory"]["needed"] <= 0.85 * said["memory"]["free"]
    complaint = refused(capsys, "--model", str(model), "--data", "data.jsonl", "--memory", "0.5", "--recipe", "c.yaml")
    assert "needs at least about" in complaint
    assert "; there is 0.5 GiB free" in complaint


# It runs


def test_models_that_only_score_are_run_to_the_report(here: Path, capsys: Captured) -> None:
    save_encoder(here / "encoder")
    save_model(here / "writer", "chatml")
    AutoModel.from_pretrained(here / "writer").save_pretrained(here / "headless")
    for file in (here / "writer").glob("*token*"):
        shutil.copy(file, here / "headless")
    write_rows(here / "data.jsonl", pairs())
    for name in ("encoder", "headless"):
        made(capsys, Path(name), "data.jsonl", "--kind", "reward", "--recipe", f"{name}.yaml")
        assert run_command(["run", f"{name}.yaml", "--json", "--set=device.threads=1"]) == 0
        assert "</html>" in Path(json.loads(capsys.readouterr().out)["result"]).read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("data", "model", "more"),
    [
        ("pairs", "chatml", []),
        ("turn_pairs", "gemma", ["--kind", "ppo"]),
        ("pairs", "no template", ["--kind", "reward"]),
        ("demonstrations", "gemma", []),
        ("answers", "no template", []),
        ("answers", "chatml", ["--kind", "ppo"]),
        ("ratings", "chatml", []),
        ("ratings", "no template", ["--kind", "dpo"]),
        ("thumbs", "gemma", []),
        ("pairs", "chatml", ["--kind", "grpo"]),
    ],
)
def test_the_recipe_runs_as_it_stands_to_the_report(
    here: Path, models: dict[str, Path], capsys: Captured, data: str, model: str, more: list[str]
) -> None:
    write_rows(here / "data.jsonl", FILES[data]())
    recipe, _ = made(capsys, models[model], "data.jsonl", *more)
    shorter = [f"--set=stages.{name}.num_steps=2" for name in ("ppo", "grpo") if name in recipe.stages]
    assert run_command(["run", "--json", "--set=device.threads=1", *shorter]) == 0
    said = json.loads(capsys.readouterr().out)
    assert {stage["state"] for stage in said["stages"]} == {"done"}
    assert "</html>" in Path(said["result"]).read_text(encoding="utf-8")
