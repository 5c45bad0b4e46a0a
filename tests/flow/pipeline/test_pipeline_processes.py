"""Two processes walk through one pipeline: the main one writes, both take part in the stages they share."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from preflab.models.tiny import build_model, build_tokenizer
from preflab.pipeline import run
from preflab.recipe import load_recipe
from preflab.training.processes import finish_trackers

CODE = """
import sys
import toy_stages
from preflab import stages
from preflab.cli import run_command
from preflab.settings import recipe
toy_stages.register(dict.__setitem__, sys.modules, recipe.STAGE_SETTINGS, stages.MODULES)
grow = toy_stages.grow

def watched(ctx):
    import os
    (ctx.recipe.folder / f"{ctx.name}-{os.environ['RANK']}").write_text(str(ctx.num_done))
    if os.environ["RANK"] == "0":
        return grow(ctx)

sys.modules["toy_stage_grow"].run = watched
sys.modules["toy_stage_grow"].distributed = True
sys.exit(run_command(sys.argv[1:]))
"""
RECIPE = "recipe: 1\nstages:\n  a: {kind: grow}\n  b: {kind: read, of: [a]}\n  c: {kind: ask}\n"


LEARNING = """
recipe: 1
data: {demos: {path: demos.jsonl}, pairs: {path: pairs.jsonl}, prompts: {path: prompts.jsonl}}
stages:
  sft: {kind: sft, model: base, data: demos, num_epochs: 1, lora: {rank: 2}}
  rm: {kind: reward, model: sft, preferences: pairs, held_out: 0.4, lora: {rank: 2}}
  grpo: {kind: grpo, model: sft, prompts: prompts, rewards: [{model: rm}], num_steps: 1, num_prompts_per_step: 2,
    num_completions_per_prompt: 2, decoding: {max_new_tokens: 4}, lora: {rank: 2}}
"""


def launch(folder: Path, repository: Path, *words: str, code: str = CODE) -> list[str]:
    """Runs the command in two processes; what each printed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    places = os.pathsep.join([str(repository / "src"), str(repository / "tests")])
    common = os.environ | {"PYTHONPATH": places, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    common |= {"ACCELERATE_USE_CPU": "true", "LOCAL_WORLD_SIZE": "2"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", code, *words],
            cwd=folder,
            env=common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    printed = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    return printed


@pytest.mark.slow
def test_two_processes_run_a_recipe(tmp_path: Path, repository: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    main, other = launch(tmp_path, repository, "run", "--json")
    assert other == ""
    assert [stage["state"] for stage in json.loads(main)["stages"]] == ["done", "done", "waiting"]
    assert (tmp_path / "a-0").exists()
    assert (tmp_path / "a-1").exists()  # the other process took part
    again = json.loads(launch(tmp_path, repository, "run", "--json", "--fresh", "a")[0])
    assert [stage["ran"] for stage in again["stages"]] == [True, True, True]
    assert len(list((tmp_path / "runs").glob("a-*"))) == 2


def learning_recipe(folder: Path) -> None:
    """Three stages that learn, each with a single step, whose row of metrics is written last of all."""
    texts = ["where is my parcel", "is my parcel late", "where is it", "is it late where", "my parcel", "late is it"]
    tokenizer = build_tokenizer(texts, context=32)
    build_model(tokenizer, num_layers=1, hidden_size=16, num_heads=2, context=32, seed=0).save_pretrained(
        folder / "base"
    )
    tokenizer.save_pretrained(folder / "base")
    rows = {
        "demos": [{"prompt": text, "completion": " is it late"} for text in texts],
        "pairs": [{"prompt": text, "chosen": " late is it", "rejected": " my parcel"} for text in texts],
        "prompts": [{"prompt": text} for text in texts],
    }
    for name, content in rows.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in content), encoding="utf-8")
    (folder / "recipe.yaml").write_text(LEARNING, encoding="utf-8")


@pytest.mark.slow
def test_two_processes_learn_in_several_stages_what_one_learns(tmp_path: Path, repository: Path) -> None:
    """accelerate's `end_training` after the first stage would end the group that the second needs."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        learning_recipe(tmp_path / name)
    command = "import sys\nfrom preflab.cli import run_command\nsys.exit(run_command(sys.argv[1:]))"
    main, _ = launch(tmp_path / "two", repository, "run", "--json", code=command)
    assert [stage["state"] for stage in json.loads(main)["stages"]] == ["done"] * 3
    for line in run(load_recipe(tmp_path / "one" / "recipe.yaml")):
        for file in sorted(line.folder.glob("*/*.safetensors")):
            other = load_file(tmp_path / "two" / "runs" / line.folder.name / file.relative_to(line.folder))
            for key, tensor in load_file(file).items():
                torch.testing.assert_close(other[key], tensor, atol=1e-5, rtol=1e-4, msg=f"{file}: {key}")


def test_end_of_a_stage_finishes_its_trackers_alone() -> None:
    finished: list[str] = []
    tracker = SimpleNamespace(finish=lambda: finished.append("tracker"))
    finish_trackers(SimpleNamespace(trackers=[tracker], end_training=lambda: finished.append("group")))
    assert finished == ["tracker"]
