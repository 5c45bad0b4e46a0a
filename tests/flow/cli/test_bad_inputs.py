"""Bad input through the command line: exit code 2, three short lines, and nothing half-done is left behind.

Misspelt keys and commands, and bad files of `import` and `score`, are in test_cli_commands.py and test_cli_files.py.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from preflab.cli import run_command
from preflab.files import append_jsonl, read_jsonl
from preflab.models.loading import load_causal_lm
from preflab.models.tiny import build_model, build_tokenizer
from preflab.store.workspace import Workspace
from preflab.training import state
from preflab.training.metrics import is_time

Captured = pytest.CaptureFixture[str]
CONTEXT = 24
WORDS = ["where is my parcel ?", "is it late ?", "it is here .", "my parcel is late .", "where is it ?", "late ?"]
FUNCTIONS = """
def good(prompt, completion):
    return float(completion.count("late"))

def raises(prompt, completion):
    return 1 / completion.count("no such word")

def not_a_number(prompt, completion):
    return float("nan")

def too_few(prompts, completions):
    return [0.0] * (len(completions) - 1)
"""
RECIPE = """
recipe: 1
data: {prompts: {path: prompts.jsonl}, demos: {path: demos.jsonl}}
labelers: {panel: {utility: "failing_rewards:good", num: 3}}
stages:
  sft: {kind: sft, model: ./model, data: demos, num_epochs: 2, num_sequences_per_step: 2}
  answers: {kind: sample, model: ./model, prompts: prompts, num_completions: 3, max_new_tokens: 6}
  labels: {kind: judge, completions: answers, labelers: panel, overlap: 3}
  prefs: {kind: preferences, judgments: labels}
  rm: {kind: reward, model: ./model, preferences: prefs, held_out: 0.3, lora: {rank: 2}}
  ppo:
    kind: ppo
    model: ./model
    prompts: prompts
    rewards: [{function: "failing_rewards:good"}]
    num_steps: 3
    num_completions_per_step: 8
    num_epochs: 1
    decoding: {max_new_tokens: 6}
    lora: {rank: 2}
    run: {save_every: 1}
  eval:
    {kind: evaluate, models: [./model], prompts: prompts, judges: {good: "failing_rewards:good"},
     decoding: {max_new_tokens: 6}}
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model's folder; tests change copies of it."""
    folder = tmp_path_factory.mktemp("model")
    tokenizer = build_tokenizer(WORDS, context=CONTEXT)
    build_model(tokenizer, num_layers=1, hidden_size=16, num_heads=2, context=CONTEXT, seed=0).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def here(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder in which every stage of the recipe would run."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(model, tmp_path / "model")
    (tmp_path / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    (tmp_path / "failing_rewards.py").write_text(FUNCTIONS, encoding="utf-8")
    write_rows(tmp_path / "prompts.jsonl", [{"prompt": words} for words in WORDS])
    write_rows(tmp_path / "demos.jsonl", [{"prompt": words, "completion": "it is here ."} for words in WORDS])
    return tmp_path


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def ended(capsys: Captured, *words: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command."""
    capsys.readouterr()
    try:
        code = run_command(words)
    except SystemExit as leaving:
        code = int(leaving.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


def refused(here: Path, capsys: Captured, *words: str) -> list[str]:
    """Found, expected, to do: the three lines of a command that refuses and leaves nothing half-written."""
    code, out, err = ended(capsys, *words)
    assert (code, out) == (2, ""), err
    assert "Traceback" not in err
    lines = err.splitlines()[-3:]
    assert lines[0].startswith("error: "), err
    assert all(line.startswith("       ") and line.strip() for line in lines[1:]), err
    assert max(map(len, lines)) < 400, "short enough to be read"
    assert not [path for path in here.rglob("*") if path.suffix in (".part", ".partial", ".former")]
    return [lines[0].removeprefix("error: "), *(line.strip() for line in lines[1:])]


def states(here: Path) -> dict[str, str]:
    """Stage → what its manifest says."""
    manifests = [json.loads(path.read_text(encoding="utf-8")) for path in here.glob("runs/*/manifest.json")]
    return {manifest["stage"]: manifest["state"] for manifest in manifests}


def num_records(here: Path) -> int:
    """Records of any kind in the database; 0 without one."""
    if not list(here.glob("*.sqlite*")) and not list(here.glob("*.db")):
        return 0
    with Workspace.open(here) as workspace:
        return sum(workspace.counts().values())


# Files


def test_a_missing_file_is_refused_before_anything_runs(here: Path, capsys: Captured) -> None:
    (here / "prompts.jsonl").unlink()
    found, _, do = refused(here, capsys, "run")
    assert "prompts.jsonl" in found
    assert "no such file" in found
    assert do
    assert states(here) == {}


@pytest.mark.parametrize(
    ("stage", "file", "words"),
    [("sft", "demos.jsonl", ["train", "sft"]), ("answers", "prompts.jsonl", ["sample"])],
)
def test_line_17_is_named(here: Path, capsys: Captured, stage: str, file: str, words: list[str]) -> None:
    rows = [json.dumps({"prompt": f"late {n}", "completion": "it is here ."}) for n in range(20)]
    rows[16] = '{"prompt": "late'
    (here / file).write_text("\n".join(rows) + "\n", encoding="utf-8")
    found, expected, _ = refused(here, capsys, *words)
    assert f"{file}, line 17: not JSON" in found
    assert expected == "one JSON object per line"
    assert states(here) == {stage: "running"}
    assert num_records(here) == 0
    found, _, do = refused(here, capsys, "import", file, "--format", "prompts")
    assert f"{file}, line 17: not JSON" in found
    assert "nothing was loaded" in do
    assert num_records(here) == 0


@pytest.mark.parametrize("words", [["import", "prompts.jsonl"], ["sample"]])
def test_repeated_prompts_count_once_and_are_named(here: Path, capsys: Captured, words: list[str]) -> None:
    write_rows(here / "prompts.jsonl", [{"prompt": each} for each in [*WORDS, WORDS[0]]])
    code, out, err = ended(capsys, *words)
    assert code == 0, err
    assert "1 row equal to an earlier one: line 7 (as line 1)" in out + err
    with Workspace.open(here) as workspace:
        assert workspace.counts()["prompt"] == len(WORDS)


@pytest.mark.parametrize("words", [["import", "prompts.jsonl"], ["sample"], ["train", "ppo"], ["evaluate"]])
def test_empty_prompts(here: Path, capsys: Captured, words: list[str]) -> None:
    write_rows(here / "prompts.jsonl", [{"prompt": each} for each in [*WORDS, "  "]])
    found, _, do = refused(here, capsys, *words)
    assert "line 7: an empty prompt" in found
    assert "--skip-bad" in do or "skip_bad" in do
    assert "done" not in states(here).values()
    assert num_records(here) == 0


# A tokenizer that does not fit


@pytest.mark.parametrize("words", [["train", "sft"], ["sample"], ["train", "ppo"], ["evaluate"]])
def test_a_tokenizer_larger_than_the_embedding(here: Path, capsys: Captured, words: list[str]) -> None:
    """Refused in the words of `check` by every stage that loads the model, before anything is written."""
    smaller = load_causal_lm(here / "model", dtype="float32")
    num = smaller.config.vocab_size
    smaller.resize_token_embeddings(num - 1)
    smaller.save_pretrained(here / "model")
    found, expected, do = refused(here, capsys, *words)
    assert found.endswith(f": the tokenizer does not fit the embedding: {num} tokens, {num - 1} rows")
    assert "done" not in states(here).values()
    assert num_records(here) == 0
    code, out, _ = ended(capsys, "check", "model")
    assert code == 1
    [row] = [line for line in out.splitlines() if line.startswith("tokenizer fits the embedding")]
    assert "WRONG" in row
    assert f"{num} tokens, {num - 1} rows" in row
    assert expected in row
    assert do in out


# Longer than the context


def test_a_demonstration_longer_than_the_context(here: Path, capsys: Captured) -> None:
    rows = [{"prompt": words, "completion": "late . " * (9 if words == WORDS[3] else 1)} for words in WORDS]
    write_rows(here / "demos.jsonl", rows)
    found, expected, _ = refused(here, capsys, "train", "sft")
    assert "demos.jsonl, line 4: prompt and completion are 25 tokens" in found  # <s>, 5 of the prompt, 18, </s>
    assert expected == f"at most {CONTEXT} tokens"
    assert states(here) == {"sft": "running"}
    assert not list(here.glob("runs/*/model"))


@pytest.mark.parametrize("words", [["sample"], ["train", "ppo"], ["evaluate"]])
def test_a_prompt_that_leaves_no_room_is_named_before_anything_is_written(
    here: Path, capsys: Captured, words: list[str]
) -> None:
    write_rows(here / "prompts.jsonl", [*({"prompt": each} for each in WORDS), {"prompt": "late " * 20}])
    found, expected, do = refused(here, capsys, *words)
    assert "prompts.jsonl, line 7: a prompt of 21 tokens and max_new_tokens 6" in found
    assert expected == f"together at most {CONTEXT}, the model's context"
    assert "max_new_tokens" in do
    assert num_records(here) == 0
    assert not list(here.glob("runs/*/metrics.jsonl"))


# Settings


@pytest.mark.parametrize(
    ("change", "found", "expected"),
    [
        ("stages.ppo.num_steps=many", "stages.ppo.num_steps", "whole number"),
        ("stages.ppo.kl_coef=[1]", "stages.ppo.kl_coef", "a number"),
        ("stages.ppo.lora=3", "stages.ppo.lora", "a mapping"),
        ("stages.ppo.num_step=3", "stages.ppo.num_step", "num_steps"),
        ("stages.ppo.rewards=[{function: failing_rewards:god}]", "failing_rewards", "good"),
    ],
)
def test_a_wrong_setting(here: Path, capsys: Captured, change: str, found: str, expected: str) -> None:
    said = refused(here, capsys, "train", "ppo", "--set", change)
    assert found in said[0]
    assert expected in " ".join(said)
    assert states(here) in ({}, {"ppo": "running"})


# Rewards


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("raises", "failing_rewards:raises raised ZeroDivisionError"),
        ("not_a_number", "failing_rewards:not_a_number returned nan"),
        ("too_few", "failing_rewards:too_few returned 7 values for 8 completions"),
    ],
)
def test_a_reward_function_that_fails(here: Path, capsys: Captured, function: str, said: str) -> None:
    change = f"stages.ppo.rewards=[{{function: failing_rewards:{function}}}]"
    found, _, do = refused(here, capsys, "train", "ppo", "--set", change)
    assert said in found
    assert "prompt " in found
    assert "completion " in found
    assert "does not count as 0" in do
    assert states(here) == {"ppo": "running"}
    assert {path.name for path in here.glob("runs/ppo-*/*")} == {"manifest.json", "recipe.resolved.yaml"}


# Models


def test_a_folder_without_weights(here: Path, capsys: Captured) -> None:
    (here / "model" / "model.safetensors").unlink()
    for words in (["train", "sft"], ["sample"], ["train", "ppo"], ["evaluate"], ["check", "model"]):
        found, expected, _ = refused(here, capsys, *words)
        assert "config.json is there, but no weights" in found
        assert "model.safetensors" in expected
    assert set(states(here).values()) == {"running"}


@pytest.mark.parametrize("words", [["run"], ["check", "model"], ["init", "--model", "model", "--data", "demos.jsonl"]])
def test_a_model_without_its_tokenizer(here: Path, capsys: Captured, words: list[str]) -> None:
    """Refused before the first stage runs, by whatever opens a model's folder."""
    for file in (here / "model").glob("*token*"):
        file.unlink()
    more = ["--recipe", "other.yaml"] if words[0] == "init" else []
    found, expected, do = refused(here, capsys, *words, *more)
    assert found.endswith("model: a model without a tokenizer")
    assert "with its tokenizer" in expected
    assert do.startswith("save the tokenizer there: tokenizer.save_pretrained('")
    assert states(here) == {}


def test_a_tokenizer_without_pad_or_end(here: Path, capsys: Captured) -> None:
    without(here / "model", "pad_token")
    assert ended(capsys, "train", "sft")[0] == 0, "the unknown token pads"
    without(here / "model", "eos_token")
    assert ended(capsys, "sample")[0] == 0, "the end token is that of the model's generation_config.json"
    (here / "model" / "generation_config.json").unlink()
    for words in (["train", "sft", "--again"], ["sample", "--again"], ["train", "ppo"], ["chat", "model"]):
        found, _, do = refused(here, capsys, *words)
        assert "no end-of-sequence token (eos_token)" in found
        assert "tokenizer_config.json" in do


def without(folder: Path, name: str) -> None:
    """Takes a special token out of a tokenizer's configuration."""
    path = folder / "tokenizer_config.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    del content[name]
    path.write_text(json.dumps(content), encoding="utf-8")


# Disks


@pytest.mark.parametrize("stage", ["sft", "ppo"])
def test_a_full_disk_keeps_the_former_checkpoint_and_the_run_goes_on(
    here: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    train = ["train", stage, "--set", "stages.sft.run.save_every=1"]
    assert ended(capsys, *train, "--workspace", "whole")[0] == 0
    write, num_writes = state.write_tensors, 0

    def full(path: Path, tensors: dict[str, Any]) -> None:
        nonlocal num_writes
        num_writes += 1
        if num_writes == 5:  # three files per checkpoint: the second one of the second checkpoint
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device", str(path))
        write(path, tensors)

    with monkeypatch.context() as patched:
        patched.setattr(state, "write_tensors", full)
        found, _, do = refused(here, capsys, *train)
    assert "No space left on device" in found
    assert "free some room" in do
    assert states(here) == {stage: "running"}
    assert [path.name for path in here.glob("runs/*/checkpoint/*")] == ["step-000001"]
    assert ended(capsys, *train)[0] == 0
    assert states(here) == {stage: "done"}
    assert num_writes == 5
    (cut,), (whole,) = here.glob("runs/*/metrics.jsonl"), here.glob("whole/runs/*/metrics.jsonl")
    assert numbers(cut) == numbers(whole)
    weights = "model/model.safetensors"
    assert (cut.parent / weights).read_bytes() == (whole.parent / weights).read_bytes()


def numbers(metrics: Path) -> list[dict[str, float]]:
    """The rows of a metrics file without times."""
    return [{name: value for name, value in row.items() if not is_time(name)} for row in read_jsonl(metrics)]


@pytest.mark.parametrize(
    ("before", "words"),
    [([], ["train", "sft"]), ([], ["train", "ppo"]), (["train", "reward"], ["export", "model", "rm", "out"])],
)
def test_a_full_disk_while_a_model_is_saved(
    here: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch, before: list[str], words: list[str]
) -> None:
    from safetensors import SafetensorError
    from transformers import PreTrainedModel

    def full(model: Any, folder: Path, **given: Any) -> None:
        (Path(folder) / "model.safetensors").write_bytes(b"half")
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    assert not before or ended(capsys, *before)[0] == 0
    with monkeypatch.context() as patched:
        patched.setattr(PreTrainedModel, "save_pretrained", full)
        found, _, do = refused(here, capsys, *words)
    assert "No space left on device" in found
    assert "free some room" in do
    assert not [*here.glob("out"), *here.glob("runs/*/model")]
    assert ended(capsys, *words)[0] == 0


def test_a_corrupted_checkpoint(here: Path, capsys: Captured) -> None:
    assert ended(capsys, "train", "ppo")[0] == 0
    (place,) = here.glob("runs/ppo-*/checkpoint/step-*")
    flip_last_byte(place / "model.safetensors")
    further = ["train", "ppo", "--set", "stages.ppo.num_steps=4"]
    found, _, do = refused(here, capsys, *further)
    assert f"{place / 'model.safetensors'}: corrupted" in found
    assert f"delete {place}" in do
    assert states(here) == {"ppo": "running"}
    shutil.rmtree(place)
    assert ended(capsys, *further)[0] == 0, "what the error said to do helps"


def test_a_corrupted_snapshot(here: Path, capsys: Captured) -> None:
    assert ended(capsys, "preferences")[0] == 0
    (file,) = here.glob("runs/prefs-*/snapshot/preferences.parquet")
    flip_last_byte(file)
    found, _, do = refused(here, capsys, "train", "reward")
    assert f"{file}: the file was changed" in found
    assert states(here)["rm"] == "running"
    assert "--fresh prefs" in do
    assert ended(capsys, "run", "--until", "rm", "--fresh", "prefs")[0] == 0, "what the error said to do helps"


def flip_last_byte(path: Path) -> None:
    """One bit less."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_a_line_torn_by_a_kill_makes_room_for_the_next(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"n": 1}\n{"n": 2, "text": "ha')
    assert read_jsonl(rows) == [{"n": 1}]
    append_jsonl(rows, {"n": 2})
    assert read_jsonl(rows) == [{"n": 1}, {"n": 2}]
    rows.write_text('{"n": 1')
    append_jsonl(rows, {"n": 1})
    assert read_jsonl(rows) == [{"n": 1}]
