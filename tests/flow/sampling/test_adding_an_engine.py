"""The engine that CONTRIBUTING.md adds: its diff, applied to a copy of the package, trains as preflab's own engine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from source_tree import PACKAGE

TESTS = Path(__file__).parents[2]
DIFF = TESTS / "data" / "adding" / "engine.diff"
RUN = """
import json, sys
from pathlib import Path

import torch

import preflab
from preflab.policy.ppo import train_ppo
from preflab.sampling.engines import EngineSource, make_engine
from preflab.settings.learning import LoraSettings
from preflab.settings.recipe import DeviceSettings
from tiny_worlds import tiny_ppo, tiny_trunk

weights, said = {}, {"package": preflab.__file__}
for name in ("transformers", "copying"):
    trunk = tiny_trunk(lora=LoraSettings(rank=4, alpha=8), vocab_size=32)
    run = tiny_ppo(Path(sys.argv[1]) / name, trunk, lambda ids: float(ids.count(1)), num_steps=3)
    start = torch.cat([p.detach().flatten().clone() for _, p in trunk.parameters_of("policy")])
    source = EngineSource(trunk.language_model("policy"), None, (), trunk, keep_states=True)
    run.sampler = make_engine(source, DeviceSettings(engine=name).engine)
    said[name] = [alarm.alarm for alarm in train_ppo(run).alarms]
    weights[name] = torch.cat([p.detach().flatten() for _, p in trunk.parameters_of("policy")])
    said["moved"] = (weights[name] - start).abs().max().item()
said["class"] = type(run.sampler).__name__
said["apart"] = (weights["copying"] - weights["transformers"]).abs().max().item()
print(json.dumps(said))
"""


@pytest.mark.slow
def test_added_engine_trains_ppo_as_our_own(tmp_path: Path) -> None:
    if shutil.which("git") is None:
        pytest.skip("git, which applies the diff, is not installed")
    copied = tmp_path / "copy"
    shutil.copytree(PACKAGE, copied / "src" / "preflab", ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(["git", "apply", "--unidiff-zero", str(DIFF)], cwd=copied, check=True)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(copied / "src"), str(TESTS)])}
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(tmp_path)], cwd=tmp_path, capture_output=True, text=True, env=environment,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert Path(said["package"]).is_relative_to(copied)
    assert said["class"] == "CopyingEngine"
    assert said["transformers"] == said["copying"] == [], "no alarm"
    assert said["moved"] > 1e-2, "it has learned"
    assert said["apart"] < 1e-4, "the same completions, π_old from the trainer's pass instead of the sampler's"
