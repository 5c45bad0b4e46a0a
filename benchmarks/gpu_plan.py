"""The GPU jobs: their processes, sizes and budgets, what each depends on, and the work that each cannot avoid."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from gpu_figures import Decoding, decode_bytes, decode_operations, pass_operations, update_operations
from gpu_models import SHAPES

CHECKS = ("decoding", "logps", "packing", "precision", "memory")
"""The groups of `gpu_checks.py`."""

PER_PROMPT = 8
"""As in jobs/gpu_common.py."""


@dataclass(frozen=True)
class Size:
    """Rows, tokens of each prompt and of each completion."""

    rows: int
    prompt: int
    new: int


@dataclass(frozen=True)
class Planned:
    """One process."""

    name: str
    script: str
    """In benchmarks/jobs/."""
    budget_s: int
    """Seconds after which the process is ended; the sum over all jobs is below eight minutes."""
    model: str = "0.5b"
    size: Size = Size(64, 248, 128)
    job: str = ""
    lora: bool = False
    dtype: str = "bfloat16"
    steps: int = 4
    needs: tuple[str, ...] = ()
    """The checks without which this job is not timed."""
    against: str = ""
    """The job to compare with."""
    is_peer: bool = False

    def arguments(self, device: str, engine: str, *, profile: bool) -> list[str]:
        """The command line after the script's name."""
        made = ["--model", self.model, "--device", device, "--dtype", self.dtype, "--steps", str(self.steps)]
        made += ["--rows", str(self.size.rows), "--prompt", str(self.size.prompt), "--new", str(self.size.new)]
        made += ["--job", self.job] if self.job else []
        made += ["--lora"] if self.lora else []
        made += ["--engine", engine] if engine and not self.is_peer else []
        return made + (["--profile"] if profile and not self.is_peer else [])


WRITES = ("decoding", "logps")
LEARNS = ("packing", "precision", "memory")
CARD = Planned("card", "gpu_card.py", 15)
CHECK = Planned("check", "gpu_check.py", 60)
"""Both come first. The checks run on the model of the timed jobs' sampling."""

JOBS = (
    Planned("sample", "gpu_sample.py", 20, needs=WRITES, against="generate"),
    Planned("generate", "gpu_peer.py", 30, job="generate", is_peer=True),
    Planned("grpo-lora", "gpu_learn.py", 35, job="grpo", lora=True, needs=WRITES + LEARNS, against="trl-grpo-lora"),
    Planned("trl-grpo-lora", "gpu_peer.py", 50, job="grpo", lora=True, is_peer=True),
    Planned("grpo-full", "gpu_learn.py", 30, job="grpo", needs=WRITES + LEARNS, against="trl-grpo-full"),
    Planned("trl-grpo-full", "gpu_peer.py", 35, job="grpo", is_peer=True),
    Planned("dpo-lora", "gpu_learn.py", 20, job="dpo", lora=True, needs=LEARNS, against="trl-dpo-lora"),
    Planned("trl-dpo-lora", "gpu_peer.py", 35, job="dpo", lora=True, is_peer=True),
    Planned("ppo-lora", "gpu_learn.py", 30, job="ppo", lora=True, needs=WRITES + LEARNS),
    Planned("sft-1.5b", "gpu_learn.py", 25, "1.5b", job="sft", needs=LEARNS),
    Planned("ppo-lora-8b", "gpu_learn.py", 90, "8b", Size(16, 512, 512), job="ppo", lora=True, steps=3,
            needs=WRITES + LEARNS),
)  # fmt: skip

TINY = Size(8, 12, 8)
PATIENCE_S = 120
"""Budget of each job on the tiny model, which serves to try the script on a machine that may be busy."""


def planned(model: str, dtype: str, only: tuple[str, ...]) -> tuple[Planned, ...]:
    """Card, checks and the timed jobs, with another model or type for all of them if one is named.

    `only` holds beginnings of names: `grpo` chooses grpo-lora and grpo-full. A chosen job brings the one to compare
    it with.
    """
    chosen = [job for job in JOBS if not only or job.name.startswith(only)]
    names = {job.name for job in chosen} | {job.against for job in chosen}
    made = [CARD, CHECK, *(job for job in JOBS if job.name in names)]
    if model:
        made = [replace(job, model=model, size=TINY if model == "tiny" else job.size) for job in made]
    if model == "tiny":
        made = [replace(job, steps=3, budget_s=PATIENCE_S) for job in made]
    return tuple(replace(job, dtype=dtype) for job in made) if dtype else tuple(made)


@dataclass(frozen=True)
class Work:
    """What one call or step cannot avoid."""

    bytes: float
    """Read while decoding."""
    operations: float
    update: float
    """Those of the update among them; 0 without one."""


def work_of(job: Planned, result: Mapping[str, Any]) -> Work:
    """The work of a job, from its sizes and from the tokens that its result names."""
    return WORK[job.job or "sample"](job, result)


def _sampling(job: Planned, prompts: int) -> tuple[float, float]:
    shape, size = SHAPES[job.model], Decoding(prompts, job.size.prompt, job.size.rows, job.size.new)
    bytes_per_number = 4 if job.dtype == "float32" else 2
    return decode_bytes(shape, size, bytes_per_number), decode_operations(shape, size)


def _sample_work(job: Planned, result: Mapping[str, Any]) -> Work:
    num_bytes, operations = _sampling(job, job.size.rows)
    return Work(num_bytes, operations, 0.0)


def _learn_work(job: Planned, result: Mapping[str, Any]) -> Work:
    update = update_operations(SHAPES[job.model], result["tokens"], result["completion_tokens"], lora=job.lora)
    return Work(0.0, update, update)


def _on_policy_work(job: Planned, result: Mapping[str, Any], *, per_prompt: int, passes: int) -> Work:
    """`passes` roles read all rollouts before the update; the policy's own pass can be avoided."""
    num_bytes, decoding = _sampling(job, max(1, job.size.rows // per_prompt))
    shape, rows = SHAPES[job.model], job.size.rows
    scored = pass_operations(shape, passes * rows * (job.size.prompt + job.size.new), 2 * rows * job.size.new)
    update = _learn_work(job, result).update
    return Work(num_bytes, decoding + scored + update, update)


WORK: dict[str, Callable[[Planned, Mapping[str, Any]], Work]] = {
    "sample": _sample_work,
    "generate": _sample_work,
    "sft": _learn_work,
    "dpo": _learn_work,
    "grpo": lambda job, result: _on_policy_work(job, result, per_prompt=PER_PROMPT, passes=1),
    "ppo": lambda job, result: _on_policy_work(job, result, per_prompt=1, passes=3),
}
