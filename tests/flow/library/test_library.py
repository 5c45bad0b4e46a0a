"""`import preflab`: the example of the README runs, and every function does what its docstring says."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import preflab
from preflab import library
from preflab.errors import PreflabError
from preflab.files import read_jsonl
from preflab.library.training import _plain
from starter_world import save_model

PROMPTS = [f"Where is {number:02d}?" for number in range(12)]


def brevity(prompt: str, completion: str) -> float:
    """Minus the number of characters."""
    return -float(len(completion))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> preflab.Model:
    """A random chat model whose tokens are bytes."""
    return preflab.load(save_model(tmp_path_factory.mktemp("model"), "chatml"))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> preflab.Model:
    """The same without a chat template."""
    return preflab.load(save_model(tmp_path_factory.mktemp("base"), "no template"))


def test_readme_example_runs(
    model: preflab.Model, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    readme = (repository / "README.md").read_text(encoding="utf-8")
    example = re.findall(r"```python\n(import preflab\n.*?)```", readme, re.DOTALL)
    assert len(example) == 1
    code = [line for line in example[0].splitlines() if line.strip()]
    assert len(code) <= 12
    names: dict[str, object] = {}
    exec(example[0].replace("path-or-hub-id", str(model.path)).replace("range(100)", "range(32)"), names)
    comparison = names["result"]
    assert isinstance(comparison, preflab.Comparison)
    assert list(comparison.figures) == ["before", "after"]
    assert list(comparison.differences) == ["after"]


def test_samples_do_not_depend_on_the_other_prompts(model: preflab.Model) -> None:
    several = preflab.sample(model, PROMPTS[:3], num_completions=2, max_new_tokens=6, seed=5)
    alone = preflab.sample(model, PROMPTS[2:3], num_completions=2, max_new_tokens=6, seed=5)
    assert [len(each.completions) for each in several] == [2, 2, 2]
    assert several[2].texts == alone[0].texts
    assert preflab.sample(model, PROMPTS[2:3], num_completions=2, max_new_tokens=6, seed=6)[0].texts != alone[0].texts


def test_text_prompt_is_a_users_turn_where_there_is_a_template(model: preflab.Model, base: preflab.Model) -> None:
    turn = {"role": "user", "content": PROMPTS[0]}
    text, conversation = preflab.sample(model, [PROMPTS[0], [turn]], num_completions=1, max_new_tokens=3)
    assert text.prompt.messages == conversation.prompt.messages
    assert text.texts == conversation.texts
    assert preflab.sample(base, PROMPTS[:1], num_completions=1, max_new_tokens=3)[0].prompt.text == PROMPTS[0]


def test_columns_of_a_row_reach_the_judge(base: preflab.Model) -> None:
    def topic_is_known(prompt: str, completion: str, topic: str) -> float:
        return {"parcel": 2.0, "refund": 1.0}[topic]

    rows = [{"prompt": PROMPTS[0], "topic": "parcel"}, {"prompt": PROMPTS[1], "topic": "refund"}]
    answers = preflab.sample(base, rows, num_completions=2, max_new_tokens=3)
    assert [row["scores"] for row in preflab.judge(answers, topic_is_known)] == [[2.0, 2.0], [1.0, 1.0]]


def test_judge_ranks_the_highest_score_first_and_ties_alike(base: preflab.Model) -> None:
    (answers,) = preflab.sample(base, PROMPTS[:1], num_completions=3, max_new_tokens=3)
    scores = iter([0.5, 2.0, 0.5])
    (row,) = preflab.judge([answers], lambda prompt, completion: next(scores))
    assert row["ranks"] == [2, 1, 2]
    assert row["scores"] == [0.5, 2.0, 0.5]
    assert row["completions"] == answers.texts
    assert row["prompt"] == PROMPTS[0]


def test_judge_refuses_one_completion(base: preflab.Model) -> None:
    with pytest.raises(PreflabError, match="one completion"):
        preflab.judge(preflab.sample(base, PROMPTS[:1], num_completions=1, max_new_tokens=3), brevity)


def test_training_twice_runs_once(model: preflab.Model, tmp_path: Path) -> None:
    rows = [{"prompt": prompt, "completion": "It is here."} for prompt in PROMPTS]
    settings = {"num_epochs": 2, "optimiser": {"learning_rate": 1e-2}}
    trained = preflab.train("sft", model, rows, folder=tmp_path, **settings)
    run = Path(trained.path).parent
    written = (run / "manifest.json").read_bytes()
    assert preflab.train("sft", model, rows, folder=tmp_path, **settings) == trained
    assert (run / "manifest.json").read_bytes() == written
    losses = [row["loss/nll"] for row in read_jsonl(run / "metrics.jsonl")]
    assert losses[-1] < losses[0]
    assert preflab.train("sft", model, rows, folder=tmp_path, seed=1, **settings).path != trained.path


def test_alarms_of_training_are_logged_with_the_setting_to_change(
    model: preflab.Model, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [{"prompt": prompt, "chosen": "It is here.", "rejected": "No."} for prompt in PROMPTS]
    preflab.train("dpo", model, rows, folder=tmp_path, optimiser={"learning_rate": 1e-9})
    (said,) = [each.getMessage() for each in caplog.records if "alarm" in each.getMessage()]
    assert said.startswith("dpo: alarm at step ")
    assert "the policy hardly moved" in said
    assert said.endswith("raise optimiser.learning_rate, or num_epochs")


def test_rewards_of_training_may_be_a_reward_model(model: preflab.Model, tmp_path: Path) -> None:
    rows = preflab.judge(preflab.sample(model, PROMPTS, num_completions=3, max_new_tokens=6), brevity)
    reward = preflab.train_reward(model, rows, folder=tmp_path, lora={"rank": 2})
    assert (reward.path.parent / "reward_report.json").is_file()
    settings = {"num_steps": 1, "num_completions_per_step": 8, "lora": {"rank": 2}, "decoding": {"max_new_tokens": 4}}
    policy = preflab.train("ppo", model, PROMPTS, folder=tmp_path, rewards=[reward], **settings)
    (row,) = read_jsonl(Path(policy.path).parent / "metrics.jsonl")
    assert row["kl/exact"] == pytest.approx(0, abs=1e-6), "measured before the first update"
    (judged,) = preflab.judge(preflab.sample(policy, PROMPTS[:1], num_completions=2, max_new_tokens=4), reward)
    assert len(set(judged["scores"])) == 2


def test_evaluate_subtracts_the_first_model(base: preflab.Model, model: preflab.Model) -> None:
    """A judge that says 3 of what the second model wrote and 1 of what the first did: 3 − 1 = 2 for every prompt."""
    first = {text for each in preflab.sample(base, PROMPTS, num_completions=1, max_new_tokens=8) for text in each.texts}

    def knows(prompt: str, completion: str) -> float:
        return 1.0 if completion in first else 3.0

    found = preflab.evaluate({"one": base, "other": model}, PROMPTS, knows, max_new_tokens=8)
    assert found.figures["one"]["judge/score"].value == pytest.approx(1)
    assert found.differences["other"]["judge/score"].value == pytest.approx(2)
    assert found.differences["other"]["judge/score"].num == len(PROMPTS)
    assert str(found).startswith("score of other compared with one: ")


def test_a_model_beside_itself_shows_no_difference(base: preflab.Model) -> None:
    found = preflab.evaluate({"one": base, "again": base}, PROMPTS, brevity, max_new_tokens=4)
    assert all(interval.value == 0 for interval in found.differences["again"].values())


def test_unknown_kinds_and_settings_are_refused(model: preflab.Model, tmp_path: Path) -> None:
    with pytest.raises(PreflabError, match="no kind of training 'dop'") as refused:
        preflab.train("dop", model, PROMPTS, folder=tmp_path)
    assert "near it: dpo" in refused.value.expected
    assert not list(tmp_path.iterdir())
    with pytest.raises(PreflabError, match="num_epoch"):
        preflab.train("sft", model, [{"prompt": "a", "completion": "b"}], folder=tmp_path, num_epoch=2)
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        _ = preflab.lod  # type: ignore[attr-defined]


def test_what_a_recipe_cannot_hold_is_refused_by_name(model: preflab.Model, tmp_path: Path) -> None:
    rows = [{"prompt": "Where?", "chosen": "Here.", "rejected": "No."}]
    with pytest.raises(PreflabError, match="rewards: function") as refused:
        preflab.train("ppo", model, ["Where?"], folder=tmp_path / "a", rewards=[len_of])
    assert "module:function" in refused.value.do
    with pytest.raises(PreflabError, match="seeds_of: bytes"):
        preflab.train("dpo", model, rows, folder=tmp_path / "b", seeds_of=b"1")
    with pytest.raises(PreflabError, match="a row of the data"):
        preflab.train("dpo", model, [{**rows[0], "raw": b"1"}], folder=tmp_path / "c")
    assert not list(tmp_path.rglob("*.yaml"))


def len_of(prompt: str, completion: str) -> float:
    return float(len(completion))


def test_models_folders_and_numpy_numbers_are_written_into_the_recipe(model: preflab.Model, tmp_path: Path) -> None:
    written = _plain({"reference": model, "place": Path("b"), "optimiser": {"learning_rate": np.float64(1e-4)}})
    assert written == {
        "reference": str(model.path.absolute() if isinstance(model.path, Path) else model.path),
        "place": str(Path.cwd() / "b"),
        "optimiser": {"learning_rate": 1e-4},
    }
    assert type(written["optimiser"]["learning_rate"]) is float


def test_package_and_library_name_the_same_functions() -> None:
    assert preflab.__all__ == library.__all__


def test_one_text_is_no_list_of_prompts(base: preflab.Model) -> None:
    with pytest.raises(PreflabError, match="a single text as `prompts`"):
        preflab.sample(base, "Where?")


def test_figure_of_a_single_model_is_its_score(base: preflab.Model) -> None:
    result = preflab.evaluate({"before": base}, ["a", "b", "c"], len_of, max_new_tokens=4)
    assert str(result).startswith("score of before: ")
    assert not result.differences
