"""A PPO run that is cut off and started again is the run that was not: bit for bit, files included."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from preflab.errors import PreflabError
from preflab.files import read_jsonl
from preflab.models.trunk import Trunk
from preflab.policy.ppo import train_ppo
from preflab.settings.learning import LoraSettings
from preflab.training.metrics import is_time
from preflab.training.state import RunState, checkpoints
from tiny_encoder_decoders import tiny_t5
from tiny_worlds import files_of, tiny_ppo, tiny_trunk

LORA = LoraSettings(rank=2, alpha=4)


def reward(ids: tuple[int, ...]) -> float:
    """Likes token 1."""
    return float(ids.count(1))


def train(folder: Path, lora: LoraSettings | None, num_steps: int, *, t5: bool = False) -> Trunk:
    trunk = tiny_trunk(lora=lora, model=tiny_t5(8) if t5 else None, sharpen=1.0 if t5 else 8.0)
    train_ppo(tiny_ppo(folder, trunk, reward, num_steps=num_steps, kl_target=1.0, kl_horizon=50))
    return trunk


def without_times(folder: Path) -> list[dict[str, float]]:
    return [{k: v for k, v in row.items() if not is_time(k)} for row in read_jsonl(folder / "metrics.jsonl")]


@pytest.mark.parametrize("lora", [None, LORA])
def test_n_restart_n_is_2n(lora: LoraSettings | None, tmp_path: Path) -> None:
    whole = train(tmp_path / "whole", lora, 6)
    train(tmp_path / "cut", lora, 3)
    resumed = train(tmp_path / "cut", lora, 6)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    assert without_times(tmp_path / "whole") == without_times(tmp_path / "cut")
    assert files_of(tmp_path / "whole" / "rollouts") == files_of(tmp_path / "cut" / "rollouts")


@pytest.mark.parametrize("lora", [None, LoraSettings(rank=2, alpha=4, where="decoder")])
def test_an_encoder_decoder_is_resumed_bit_for_bit(lora: LoraSettings | None, tmp_path: Path) -> None:
    whole = train(tmp_path / "whole", lora, 4, t5=True)
    train(tmp_path / "cut", lora, 2, t5=True)
    resumed = train(tmp_path / "cut", lora, 4, t5=True)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    assert files_of(tmp_path / "whole" / "rollouts") == files_of(tmp_path / "cut" / "rollouts")


def test_the_run_did_learn_something_to_resume(tmp_path: Path) -> None:
    fresh, trained = tiny_trunk(lora=LORA), train(tmp_path, LORA, 3)
    assert any(not torch.equal(a, b) for a, b in zip(fresh.parameters(), trained.parameters(), strict=True))
    coefficients = [row["kl/coef"] for row in without_times(tmp_path)]
    assert len(set(coefficients)) == 3, "the adaptive controller moves, so its state is part of what is resumed"


KILLED = """
import os, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from preflab.policy import ppo
from test_ppo_resume import train, LORA
from preflab import files
import preflab.training.state as state
writes = 0
def dying(path, tensors, write=state.write_tensors):
    global writes
    writes += 1
    write(path, tensors)
    if writes == {kill_at}:
        os.kill(os.getpid(), 9)
state.write_tensors = dying
train(Path({folder!r}), LORA, 6)
"""


@pytest.mark.parametrize("kill_at", [pytest.param(2, marks=pytest.mark.slow), 8])
def test_killed_while_it_writes_a_checkpoint(kill_at: int, tmp_path: Path) -> None:
    script = KILLED.format(tests=str(Path(__file__).parent), kill_at=kill_at, folder=str(tmp_path / "cut"))
    path = [str(Path(__file__).parents[2]), *sys.path]
    killed = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {path!r}\n{script}"], capture_output=True, check=False
    )
    assert killed.returncode == -9, killed.stderr.decode()[-2000:]
    resumed = train(tmp_path / "cut", LORA, 6)
    assert [path.name for path in (tmp_path / "cut" / "checkpoint").iterdir()] == ["step-000006"], (
        "no half ones are left"
    )
    whole = train(tmp_path / "whole", LORA, 6)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    assert without_times(tmp_path / "whole") == without_times(tmp_path / "cut")
    assert files_of(tmp_path / "whole" / "rollouts") == files_of(tmp_path / "cut" / "rollouts")


def test_fewer_steps_than_are_done_is_refused(tmp_path: Path) -> None:
    """An interrupted longer run is not passed off as a shorter one."""
    train(tmp_path, LORA, 3)
    with pytest.raises(PreflabError, match="3 steps are done, and num_steps is 2"):
        train(tmp_path, LORA, 2)


def test_each_checkpoint_is_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing the last one again would put the only whole one aside for a moment, and a kill might come then."""
    saved = []
    save = RunState.save

    def counted(self: RunState, folder: Path) -> None:
        saved.append(self.step)
        save(self, folder)

    monkeypatch.setattr(RunState, "save", counted)
    train(tmp_path, LORA, 3)
    assert saved == [1, 2, 3]


def test_a_corrupted_checkpoint_is_refused(tmp_path: Path) -> None:
    train(tmp_path, LORA, 2)
    [place] = checkpoints(tmp_path / "checkpoint")
    file = place / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises(PreflabError, match="corrupted") as refused:
        train(tmp_path, LORA, 4)
    assert f"delete {place}" in refused.value.do


def test_a_full_disk_leaves_the_former_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(tmp_path, LORA, 2)
    before = {p.name: p.read_bytes() for p in checkpoints(tmp_path / "checkpoint")[0].iterdir()}

    def full(path: Path, tensors: object) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("preflab.training.state.write_tensors", full)
    with pytest.raises(PreflabError, match="No space left"):
        train(tmp_path, LORA, 4)
    after = {p.name: p.read_bytes() for p in checkpoints(tmp_path / "checkpoint")[0].iterdir()}
    assert before == after
