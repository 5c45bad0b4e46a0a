"""`preflab check --memory`: predictions from configurations alone, what does not fit, and `auto` in a run."""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from subprocess import PIPE, run
from typing import Any

import pytest

from preflab.cli import run_command
from preflab.memory.arithmetic import MIB, estimate
from preflab.memory.load import Lengths, load_of
from preflab.memory.model_sizes import ModelSizes
from preflab.models.tiny import build_tokenizer
from preflab.recipe import load_recipe
from preflab.stages.base import StageContext
from preflab.stages.common import chosen_memory

Captured = pytest.CaptureFixture[str]
WORDS = [f"w{i}" for i in range(400)]
RECIPE = """
recipe: 1
data: {demos: {path: demos.jsonl}, prompts: {path: prompts.jsonl}}
stages:
  sft: {kind: sft, model: ./base, data: demos, lora: {rank: 4}, num_epochs: 1, optimiser: {OPTIMISER}}
  ppo: {kind: ppo, model: sft, prompts: prompts, rewards: [{function: "ones:count"}]}
  report: {kind: report, of: [ppo]}
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe beside a model's folder that has a configuration and no weights."""
    monkeypatch.chdir(tmp_path)
    llama().save_pretrained(tmp_path / "base")
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "w1"}\n', encoding="utf-8")
    (tmp_path / "demos.jsonl").write_text('{"prompt": "w1", "completion": "w2"}\n', encoding="utf-8")
    (tmp_path / "ones.py").write_text("def count(prompt, completion):\n    return 1.0\n", encoding="utf-8")
    write_recipe(tmp_path, "tokens_per_micro_batch: 64")
    return tmp_path


def write_recipe(folder: Path, optimiser: str) -> None:
    """The recipe with these settings of the first optimiser."""
    (folder / "recipe.yaml").write_text(RECIPE.replace("OPTIMISER", optimiser), encoding="utf-8")


def llama(**changes: Any) -> Any:
    """The configuration of a small Llama."""
    from transformers import LlamaConfig

    sizes: dict[str, Any] = {
        "vocab_size": 1000, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 4, "tie_word_embeddings": True, "pad_token_id": 0,
        "bos_token_id": 1, "eos_token_id": 2,
    }  # fmt: skip
    return LlamaConfig(architectures=["LlamaForCausalLM"], **sizes | changes)


def ended(capsys: Captured, *words: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command."""
    capsys.readouterr()
    try:
        code = run_command(words)
    except SystemExit as leaving:
        code = int(leaving.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


def test_a_model_is_judged_by_its_configuration(capsys: Captured) -> None:
    """P = 1000 · 64 + 2 · (4 · 64² + 3 · 64 · 128 + 2 · 64) + 64; full fine-tuning has 4 bytes of gradient for each."""
    code, out, _ = ended(capsys, "check", "base", "--memory", "--stage", "sft", "--available", "64", "--json")
    content = json.loads(out)
    assert (code, content["fits"], content["free_bytes"]) == (0, True, 64 * 2**30)
    assert [stage["stage"] for stage in content["stages"]] == ["sft, LoRA", "sft, full"]
    parameters = 64_000 + 2 * (4 * 64**2 + 3 * 64 * 128 + 128) + 64
    assert content["stages"][1]["cpu"]["parts"]["gradients"] == 4 * parameters
    assert content["stages"][1]["gpu"]["parts"]["optimiser"] == 8 * parameters


def test_a_recipes_stages_have_a_line_per_device(capsys: Captured) -> None:
    code, out, _ = ended(capsys, "check", "--memory", "--available", "64")
    lines = out.splitlines()
    assert code == 0
    assert lines[0].split()[:3] == ["stage", "on", "base"]
    assert [line.split()[0] for line in lines[1:5]] == ["sft", "GPU", "ppo", "GPU"]
    assert lines[5].startswith("GiB; columns: docs/how-to/precision-and-devices.md; ")
    assert lines[6] == "64.0 GiB given, of which 85\N{NO-BREAK SPACE}% may be used"
    assert max(map(len, lines)) <= 80
    assert lines[-1] == "next: `preflab run`"


def test_what_is_left_out_of_a_model_is_said(here: Path, capsys: Captured) -> None:
    """Every other model of this file is a Llama, of which nothing is left out."""
    from transformers import T5Config

    _, out, _ = ended(capsys, "check", "base", "--memory", "--available", "64")
    assert "not counted" not in out
    config = T5Config(vocab_size=50, d_model=16, d_ff=24, d_kv=8, num_heads=2, num_layers=2)
    config.architectures = ["T5ForConditionalGeneration"]
    config.save_pretrained(here / "t5")
    _, out, _ = ended(capsys, "check", "t5", "--memory", "--stage", "sft", "--available", "64")
    assert "not counted for sft, LoRA and sft, full: prompts that completions cannot share in an encoder–decoder" in out


def test_one_stage_of_the_recipe(capsys: Captured) -> None:
    code, out, _ = ended(capsys, "check", "ppo", "--memory", "--json", "--available", "64")
    assert code == 0
    assert [stage["stage"] for stage in json.loads(out)["stages"]] == ["ppo"]


@pytest.mark.parametrize(
    ("words", "following"),
    [
        (["recipe.yaml"], "next: `preflab run recipe.yaml`"),
        (["recipe.yaml", "--recipe", "other.yaml"], "next: `preflab run recipe.yaml`"),
        (["sft"], "next: `preflab run --until sft`"),
        (["base", "--stage", "sft"], "next: `preflab init --model base --data FILE`"),
    ],
)
def test_the_next_command_is_about_what_was_asked(capsys: Captured, words: list[str], following: str) -> None:
    _, out, _ = ended(capsys, "check", *words, "--memory", "--available", "64")
    assert out.splitlines()[-1] == following


def test_what_does_not_fit_has_changes_with_their_figures(capsys: Captured) -> None:
    code, out, _ = ended(capsys, "check", "recipe.yaml", "--memory", "--available", "0.2")
    assert code == 1
    assert "does not fit; alone, each of these would need:" in out
    assert "    gradient_checkpointing: true  " in out
    assert "still too much" in out


def test_a_model_that_a_stage_has_yet_to_make_is_named(here: Path, capsys: Captured) -> None:
    text = (
        RECIPE.replace("OPTIMISER", "")
        .replace("./base", "base")
        .replace("stages:", "stages:\n  base: {kind: tiny, text: demos}")
    )
    (here / "made.yaml").write_text(text, encoding="utf-8")
    code, out, _ = ended(capsys, "check", "made.yaml", "--memory", "--available", "64")
    assert code == 0
    assert not out.startswith("stage"), "a table without rows has no headings"
    assert "base: kind tiny is not predicted" in out
    assert "sft: its model's sizes are known once the stage that makes it has run" in out


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["check"], "error: no MODEL"),
        (["check", "base", "--stage", "sft"], "error: --stage without --memory"),
        (
            ["check", "base", "--available", "8", "--prompt-tokens", "512", "--completion-tokens", "9"],
            "error: --available and --prompt-tokens and --completion-tokens without --memory",
        ),
        (
            ["check", "base", "--memory", "--stage", "pppo"],
            "error: --stage pppo: no kind of stage whose memory is predicted",
        ),
        (["check", "recipe.yaml", "--memory", "--stage", "sft"], "error: --stage sft with the recipe recipe.yaml"),
        (["check", "--memory", "--precision", "bfloat16"], "error: --precision bfloat16 with the recipe recipe.yaml"),
        (["check", "base", "--memory", "--precision", "bf16"], "error: unknown precision: bf16"),
        (["check", "ppo", "--memory", "--stage", "sft"], "error: --stage sft with stage ppo of recipe.yaml"),
        (["check", "base", "--memory", "--set", "seed=1"], "error: --set seed=1 with the model base"),
        (["check", "pppo", "--memory"], "error: pppo: neither a stage of recipe.yaml nor a folder"),
        (["check", "report", "--memory"], "error: report: no stage whose memory is predicted"),
        (["check", "none.yaml", "--memory"], "error: none.yaml"),
        (["check", "./nowhere", "--memory"], "error: ./nowhere"),
    ],
)
def test_wrong_questions_are_refused(capsys: Captured, words: list[str], found: str) -> None:
    code, _, err = ended(capsys, *words)
    assert code == 2
    assert any(line.startswith(found) for line in err.splitlines()), err


def context(folder: Path) -> StageContext:
    """The context of stage `sft` in a folder."""
    recipe, run = load_recipe(folder / "recipe.yaml"), folder / "run"
    run.mkdir(exist_ok=True)
    nothing: Any = None
    return StageContext("sft", recipe.stages["sft"], 0, run, recipe, {}, {}, recipe.device, nothing)


def test_auto_is_chosen_once_and_read_again(
    here: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A resumed stage uses what the first call wrote, whatever is free by then."""
    write_recipe(here, "tokens_per_micro_batch: auto, gradient_checkpointing: auto")
    caplog.set_level(logging.WARNING, "preflab")  # what a command shows
    monkeypatch.setattr(chosen_memory, "free_memory", lambda: 2**40)
    assert chosen_memory.memory_choice(context(here)) == (4096, False)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("sft: 4,096 tokens per micro-batch, without activation checkpointing; predicted peak ")
    monkeypatch.setattr(chosen_memory, "free_memory", lambda: 1)
    assert chosen_memory.memory_choice(context(here)) == (4096, False)
    (here / "run" / "memory.json").unlink()
    assert chosen_memory.memory_choice(context(here)) == (1024, True)  # a row of 512 + 512 tokens is the least
    chosen = chosen_memory.with_memory_choice(context(here), (512, True)).settings.optimiser
    assert (chosen.tokens_per_micro_batch, chosen.gradient_checkpointing) == (512, True)


def test_a_stage_without_auto_is_left_alone(here: Path) -> None:
    before = context(here)
    assert chosen_memory.memory_choice(before) is None
    assert chosen_memory.with_memory_choice(before, None) is before
    assert not (here / "run" / "memory.json").exists()


def write_model_and_demonstrations(folder: Path, *, num: int, **sizes: Any) -> None:
    """A model with random weights, its tokenizer, and demonstrations of 16 + 49 tokens."""
    from transformers import LlamaForCausalLM

    tokenizer = build_tokenizer([" ".join(WORDS)], context=128)
    for saved in (LlamaForCausalLM(llama(vocab_size=len(tokenizer), **sizes)), tokenizer):
        saved.save_pretrained(folder / "base")
    row = {"prompt": " ".join(WORDS[:15]), "completion": " ".join(WORDS[20:68])}
    (folder / "demos.jsonl").write_text("".join(json.dumps(row | {"n": n}) + "\n" for n in range(num)))


def test_a_run_with_auto_writes_its_choice_and_keeps_its_recipe(here: Path) -> None:
    write_recipe(here, "tokens_per_micro_batch: auto")
    write_model_and_demonstrations(here, num=4)
    assert run_command(["run", "--only", "sft"]) == 0
    (run,) = here.glob("runs/sft-*")
    assert json.loads((run / "memory.json").read_text())["tokens_per_micro_batch"] in (512, 1024, 2048, 4096)
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["settings"]["optimiser"]["tokens_per_micro_batch"] == "auto"


@pytest.mark.slow
@pytest.mark.parametrize("lora", ["{rank: 16}", "null"])
@pytest.mark.parametrize("checkpointing", ["false", "true"])
def test_predictions_are_within_15_percent_of_a_process(here: Path, lora: str, checkpointing: str) -> None:
    """One micro-batch of 24 rows of 65 tokens, two steps, in a process of its own; H = 512, L = 6."""
    write_recipe(here, f"tokens_per_micro_batch: 1560, gradient_checkpointing: {checkpointing}")
    text = (here / "recipe.yaml").read_text().replace("{rank: 4}", f"{lora}, num_sequences_per_step: 24")
    (here / "recipe.yaml").write_text(text)
    sizes = {"hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 6, "num_attention_heads": 8}
    write_model_and_demonstrations(here, num=48, num_key_value_heads=8, **sizes)
    settings = load_recipe(here / "recipe.yaml").stages["sft"]
    predicted = estimate(ModelSizes.read(here / "base"), load_of("sft", settings, Lengths(16, 49))).total / MIB
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    peak = peak_of([sys.executable, "-m", "preflab", "run", "--only", "sft"], environment)
    assert 0.85 <= predicted / peak <= 1.15


LAUNCH = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(usage.ru_maxrss / 1024)
sys.exit(os.waitstatus_to_exitcode(status))
"""
"""Linux counts what a process held before `exec` as well, which is a copy of its parent: the parent has to be small."""


def peak_of(command: list[str], environment: dict[str, str]) -> float:
    """The resident peak of a command in MiB."""
    launched = run([sys.executable, "-c", LAUNCH, *command], env=environment, stdout=PIPE, text=True, check=True)
    return float(launched.stdout)


def test_a_peak_is_that_of_the_command_and_not_of_this_process() -> None:
    """Here are 600 MiB and more; the command has an interpreter and 100 MiB."""
    held = b"1" * 600 * MIB
    peak = peak_of([sys.executable, "-c", "held = b'1' * 100 * 2**20"], dict(os.environ))
    assert 100 <= peak < 250
    assert len(held) == 600 * MIB
