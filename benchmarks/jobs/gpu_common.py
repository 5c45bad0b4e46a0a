"""What the GPU jobs share: arguments, sizes, clocks, peak memory, one RESULT line."""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")

PER_PROMPT = 8
"""Completions per prompt in GRPO jobs, of both sides."""
PAIRS = 16
"""Pairs per step in DPO jobs, of both sides."""


def parser(about: str | None) -> argparse.ArgumentParser:
    """The arguments that every job takes; sizes are chosen by `gpu_plan`."""
    made = argparse.ArgumentParser(description=about)
    made.add_argument("--model", default="tiny")
    made.add_argument("--device", default="cuda")
    made.add_argument("--dtype", default="bfloat16", help="bfloat16 or float32")
    made.add_argument("--rows", type=int, default=64, help="completions, or rows of SFT, per step")
    made.add_argument("--prompt", type=int, default=248, help="tokens of each prompt")
    made.add_argument("--new", type=int, default=128, help="tokens of each completion")
    made.add_argument("--steps", type=int, default=4, help="steps; the first is not timed")
    made.add_argument("--lora", action="store_true")
    made.add_argument("--engine", default="", help="which of preflab's engines; default: the fastest")
    made.add_argument("--budget", type=int, default=16384, help="tokens per micro-batch")
    made.add_argument("--profile", action="store_true", help="print the 15 kernels that take longest in one step")
    return made


def synchronise() -> None:
    """Wait until the device has done everything."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def now() -> float:
    """Seconds, after the device has done everything."""
    synchronise()
    return time.perf_counter()


def median_of(run: Callable[[], Any], repeats: int) -> float:
    """The median of the seconds of `repeats` runs, after one that is not timed."""
    run()
    seconds = []
    for _ in range(repeats):
        start = now()
        run()
        seconds.append(now() - start)
    return statistics.median(seconds)


def peak_mib() -> float:
    """Peak memory in MiB: allocated on a CUDA device, else resident in this process."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def emit(**result: Any) -> None:
    """The line that benchmarks/gpu.py reads."""
    print("RESULT " + json.dumps(result), flush=True)


def profiled(run: Callable[[], Any]) -> Any:
    """Run something and print the 15 kernels that took longest, on a GPU; on the CPU the operations."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    cuda = torch.cuda.is_available()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    with profile(activities=activities) as profiler:
        result = run()
        synchronise()
    order = "cuda_time_total" if cuda else "cpu_time_total"
    print(profiler.key_averages().table(sort_by=order, row_limit=15, max_name_column_width=60), flush=True)
    return result
