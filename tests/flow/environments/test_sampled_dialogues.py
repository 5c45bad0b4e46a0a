"""The stage `sample` with an environment: dialogues become records that are judged, preferred and learned from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

import preflab
from chat_server import Answer, chat_server
from preflab.cli import run_command
from preflab.conversations.renderer import Renderer
from preflab.errors import PreflabError
from preflab.files import read_json, read_jsonl
from preflab.models.loading import load_tokenizer
from preflab.models.tiny import build_model, build_tokenizer
from preflab.pipeline import run
from preflab.recipe import load_recipe
from preflab.records import Completion, Message, Prompt, Span
from preflab.settings.best_of_n import BestOfNSettings
from preflab.settings.sampling import SampleSettings
from preflab.stages.common.dialogues import dialogue_record
from preflab.store.workspace import Workspace
from preflab.training.protocols import Episode
from talking_world import Echo, talking_model, talking_renderer

RECIPE = """
recipe: 1
seed: 3
labelers:
  panel: {utility: "flow.environments.test_sampled_dialogues:early_letters", num: 2}
stages:
  talks:
    {kind: sample, model: chat, environment: "talking_world:Echo", num_completions: 3, max_new_tokens: 4}
  judged: {kind: judge, completions: talks, labelers: panel, overlap: 1}
  liked: {kind: preferences, judgments: judged}
  rm:
    {kind: reward, model: chat, preferences: liked, held_out: 0, num_epochs: 1, lora: {rank: 2}}
  dpo:
    {kind: dpo, model: chat, preferences: liked, held_out: 0, num_epochs: 1, lora: {rank: 2},
     num_kept_pairs: 2}
"""


def early_letters(prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
    """A utility that differs between texts."""
    return [-float(sum(map(ord, text)) % 97) for text in completions]


def save_chat(folder: Path) -> Path:
    """A random Llama of bytes with a chat template, as a folder."""
    talking_model().save_pretrained(folder)
    talking_renderer().tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Stage → run folder of the recipe."""
    folder = tmp_path_factory.mktemp("dialogues")
    save_chat(folder / "chat")
    (folder / "recipe.yaml").write_text(RECIPE)
    return {line.name: line.folder for line in run(load_recipe(folder / "recipe.yaml"))}


def dialogues(finished: dict[str, Path]) -> list[tuple[Prompt, Completion]]:
    with Workspace.open(finished["talks"].parents[1]) as workspace:
        completions = workspace.completions(read_json(finished["talks"] / "completions.json"))
        prompts = {prompt.id: prompt for prompt in workspace.prompts()}
    return [(prompts[one.prompt_id], one) for one in completions]


def test_every_turn_is_a_span_and_only_the_policys_are_learned(finished: dict[str, Path]) -> None:
    made = dialogues(finished)
    assert len(made) == 6, "two prompts of the environment, three dialogues each"
    for prompt, one in made:
        assert [span.role for span in one.spans] == ["assistant", "user", "assistant", "user", "assistant"]
        assert [span.by_policy for span in one.spans] == [True, False, True, False, True]
        assert [span.text for span in one.spans[1::2]] == ["No 1", "No 2"]
        assert one.last_turn == "No 3"
        assert one.text.startswith("assistant: ")
        assert one.shown == f"{one.text}\n\nuser: No 3"
        given = one.columns["environment"]
        assert given["reward"] == 6.0
        assert given["turn_rewards"] == [1.0, 2.0, 3.0]
        assert given["columns"] == {"num_turns": 3.0, "long": float(len(one.turns[-1].content))}
        assert len(one.token_ids) == len(one.logps)
        start = prompt.columns["environment_start"]
        assert prompt.messages == (Message("user", f"Say {start % 10}"),)


def test_dialogues_of_a_prompt_share_start_and_record(finished: dict[str, Path]) -> None:
    made = dialogues(finished)
    assert [one.index for _, one in made] == [0, 1, 2, 0, 1, 2]
    assert len({prompt.id for prompt, _ in made[:3]}) == 1
    assert len({prompt.id for prompt, _ in made}) == 2
    assert len({one.text for _, one in made}) == 6
    rows = read_jsonl(finished["talks"] / "sampled.jsonl")
    assert [row["num_turns"] for row in rows] == [9, 9]
    assert [row["reward"] for row in rows] == [18.0, 18.0]
    for row in rows:
        every = sum(len(one.token_ids) for _, one in made if one.id in row["completions"])
        assert 9 <= row["num_tokens"] <= 9 * 4 < every, "without the turns of the environment"
    figures = read_json(finished["talks"] / "manifest.json")["figures"]
    assert (figures["num_turns_mean"], figures["reward_mean"]) == (3.0, 6.0)


def test_training_reads_the_tokens_that_the_policy_read(finished: dict[str, Path]) -> None:
    """Rendered from the record, a dialogue has the sampled tokens of every turn that ended by itself."""
    renderer = Renderer(load_tokenizer(finished["talks"].parents[1] / "chat"), talking_renderer().configured)
    for prompt, one in dialogues(finished):
        sequence = renderer.sequence(prompt, one)
        assert sequence.policy_tokens is not None
        mine = [t for t, own in zip(sequence.completion_ids, sequence.policy_tokens, strict=True) if own]
        text = renderer.tokenizer.decode(mine).replace("<|im_end|>", "").replace("\n", "")
        assert text == "".join(turn.content for turn in one.turns[::2]).replace("\n", "")
        assert "No 1" in renderer.tokenizer.decode(list(sequence.completion_ids))
        assert "No 3" not in renderer.tokenizer.decode(list(sequence.completion_ids))


def test_dialogues_are_judged_and_learned_from(finished: dict[str, Path]) -> None:
    assert len(read_json(finished["judged"] / "judgments.json")["judgment_ids"]) == 2, "one ranking per prompt"
    for stage in ("rm", "dpo"):
        rows = read_jsonl(finished[stage] / "metrics.jsonl")
        assert rows
        assert all(value == value for row in rows for value in row.values() if isinstance(value, float)), stage
    (step, *_) = sorted((finished["dpo"] / "pairs").iterdir())
    from pyarrow import parquet

    for row in parquet.read_table(step).to_pylist():
        assert not all(row["written"])
        assert [value == value for value in row["logps"]] == row["written"]


def test_one_turn_is_a_plain_completion() -> None:
    episode = Episode(
        Prompt.make(text="a"), (1,), (2, 3), (-1.0, -2.0), "hi", True, (True, True),
        turns=(Message("assistant", "hi"),), last_turn="bye", rewards=(0.0, 2.0), columns={"num_turns": 1.0},
    )  # fmt: skip
    one = dialogue_record(episode, "model-1", 5, 0, 1.0)
    assert one.spans == (Span("hi"),)
    assert one.text == "hi"
    assert one.shown == "assistant: hi\n\nuser: bye"
    assert one.columns["environment"] == {
        "reward": 2.0, "turn_rewards": [2.0], "last_turn": "bye", "columns": {"num_turns": 1.0},
    }  # fmt: skip
    assert Completion.make("p", "x", "m", columns={"environment": "a word"}).shown == "x", "an imported column"


def test_what_cannot_be_sampled_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="prompts: required without an `environment`"):
        SampleSettings(model="m")
    with pytest.raises(ValueError, match="environment"):
        BestOfNSettings.model_validate(
            {"model": "m", "prompts": "p", "rewards": [{"model": "r"}], "environment": "a:B"}
        )
    tokenizer = build_tokenizer(["where is it"], context=32)
    build_model(tokenizer, num_layers=1, hidden_size=16, num_heads=2, context=32, seed=0).save_pretrained(
        tmp_path / "plain"
    )
    tokenizer.save_pretrained(tmp_path / "plain")
    refused(tmp_path, {"model": "plain"}, "has no chat template")
    save_chat(tmp_path / "chat")
    refused(tmp_path, {"model": "chat", "too_long": "leave_out"}, "too_long: leave_out with an environment")
    moody = {"model": "chat", "environment": "flow.environments.test_sampled_dialogues:Moody"}
    refused(tmp_path, moody, "reset with one seed returned 'user: Say 1' and 'user: Say 2'")


class Moody(Echo):
    """It begins as it likes."""

    count = 0

    def reset(self, prompt: Prompt, seed: int) -> str:
        super().reset(prompt, seed)
        Moody.count += 1
        return f"Say {Moody.count}"


def refused(folder: Path, settings: dict[str, Any], message: str) -> None:
    stage = {"kind": "sample", "environment": "talking_world:Echo", "max_new_tokens": 4, **settings}
    (folder / "recipe.yaml").write_text(json.dumps({"recipe": 1, "stages": {"talks": stage}}))
    with pytest.raises(PreflabError, match=message):
        run(load_recipe(folder / "recipe.yaml"))


SINGLE = """
recipe: 1
data: {asked: {path: asked.jsonl, as_turns: true}}
stages:
  grpo:
    {kind: grpo, model: chat, environment: "talking_world:Echo", num_steps: 1, num_prompts_per_step: 2,
     num_completions_per_prompt: 2, decoding: {max_new_tokens: 4}, lora: {rank: 2}}
  eval:
    {kind: evaluate, models: [chat, grpo], prompts: asked, decoding: {max_new_tokens: 4},
     judges: {letters: "flow.environments.test_sampled_dialogues:early_letters"}}
"""


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose recipe has learned in dialogues and measured single answers."""
    folder = tmp_path_factory.mktemp("single")
    save_chat(folder / "chat")
    (folder / "asked.jsonl").write_text("".join(f'{{"prompt": "Say {number}"}}\n' for number in range(4)))
    (folder / "recipe.yaml").write_text(SINGLE)
    run(load_recipe(folder / "recipe.yaml"))
    return folder


def test_an_evaluation_says_that_it_measures_single_answers(learned: Path) -> None:
    (folder,) = (learned / "runs").glob("eval-*")
    notes = read_json(folder / "evaluation.json")["notes"]
    assert (
        "grpo learned in dialogues with talking_world:Echo; here it gives single answers to the prompts, without the "
        "environment and its reward" in notes
    )


def test_dialogues_are_not_simulated_or_evaluated_as_answers(
    learned: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sim = {"kind": "simulate", "policies": ["grpo"], "prompts": "asked"}
    talks = {"kind": "sample", "model": "chat", "environment": "talking_world:Echo", "max_new_tokens": 4}
    stored = {"kind": "evaluate", "models": ["chat"], "prompts": "asked", "completions": ["talks"]}
    stored["judges"] = {"letters": "flow.environments.test_sampled_dialogues:early_letters"}
    stored["decoding"] = {"max_new_tokens": 4}
    for stages, message in (
        ({"sim": sim}, "policies: grpo learned in dialogues with the environment talking_world:Echo\npolicies that"),
        ({"talks": talks, "stored": stored}, "talks has dialogues with an environment"),
    ):
        recipe = yaml.safe_load(SINGLE)
        recipe["stages"] |= stages
        (learned / "more.yaml").write_text(json.dumps(recipe))
        with pytest.raises(PreflabError, match=message):
            run(load_recipe(learned / "more.yaml"))
    monkeypatch.chdir(learned)
    with pytest.raises(SystemExit):
        run_command(["simulate", "grpo"])
    assert "grpo learned in dialogues" in capsys.readouterr().err


def test_train_needs_no_data_with_an_environment(learned: Path, tmp_path: Path) -> None:
    small = {"num_steps": 1, "num_prompts_per_step": 2, "num_completions_per_prompt": 2}
    short = {"decoding": {"max_new_tokens": 4}, "lora": {"rank": 2}, **small}
    trained = preflab.train("grpo", learned / "chat", folder=tmp_path, environment="talking_world:Echo", **short)
    assert (trained.path / "config.json").is_file()
    rows = read_jsonl(next((tmp_path / "runs").glob("grpo-*")) / "metrics.jsonl")
    assert rows[0]["reward/environment"] == pytest.approx(6.0)
    given = preflab.train(
        "grpo", learned / "chat", ["one"], folder=tmp_path / "given", environment="talking_world:Echo", **short
    )
    assert (given.path / "config.json").is_file()
    with pytest.raises(PreflabError, match="grpo without data\na data file or rows as `prompts`"):
        preflab.train("grpo", learned / "chat", folder=tmp_path, **short)


def test_an_ai_judge_reads_the_last_turn(learned: Path, tmp_path: Path) -> None:
    shutil.copytree(learned / "chat", tmp_path / "chat")
    with chat_server(lambda body, number: Answer("VERDICT: A" if number % 2 else "VERDICT: B")) as server:
        talks = {"kind": "sample", "model": "chat", "environment": "talking_world:Echo", "num_completions": 2}
        endpoint = {"base_url": server.url, "model": "first", "max_retries": 0}
        machine = {"kind": "ai_judge", "completions": "talks", "judge": {"endpoint": endpoint}}
        stages = {"talks": {**talks, "max_new_tokens": 4, "max_prompts": 1}, "machine": machine}
        (tmp_path / "recipe.yaml").write_text(json.dumps({"recipe": 1, "stages": stages}))
        run(load_recipe(tmp_path / "recipe.yaml"))
    assert server.asked
    for asked in server.asked:
        assert json.dumps(asked).count("user: No 3") == 2, "of both dialogues"
