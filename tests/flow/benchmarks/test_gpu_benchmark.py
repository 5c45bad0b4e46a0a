"""benchmarks/gpu.py: checks first, nothing timed that depends on a failed one, no number without a measurement."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest


@pytest.fixture
def gpu(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    import gpu_plan  # type: ignore[import-not-found]
    import gpu_tables  # type: ignore[import-not-found]

    import gpu as script  # type: ignore[import-not-found]

    return SimpleNamespace(script=script, plan=gpu_plan, tables=gpu_tables)


def checks(*failed: str) -> dict[str, Any]:
    """The result of the checks, of which some groups failed."""
    names = ("decoding", "logps", "packing", "precision", "memory")
    rows = [{"name": n, "what": n, "value": 0.5, "bound": 1.0, "holds": n not in failed} for n in names]
    return {"checks": rows, "peak_mib": 1.0}


def runs(gpu: Any, results: dict[str, Any], missing: tuple[str, ...] = ()) -> Callable[[Any, float], Any]:
    """A stand-in for processes: each job has a result of its own or takes 2 s and 100 MiB."""

    def run(job: Any, seconds: float) -> Any:
        if job.name in missing:
            return gpu.script.Outcome(job, why_not="not installed: trl")
        standard = {"seconds": 2.0, "peak_mib": 100.0, "tokens": 10, "completion_tokens": 5, "update_seconds": 1.0}
        return gpu.script.Outcome(job, results.get(job.name, standard))

    return run


CARD = {"name": "CPU", "torch": "2", "bandwidth": 1e9, "operations": 1e9}


def test_an_unknown_job_is_refused_with_the_names(gpu: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        gpu.script.arguments(["--only", "grpo", "nonsense"])
    assert caught.value.code == 2
    assert "--only nonsense: no job begins so; the jobs are " in capsys.readouterr().err


@pytest.mark.parametrize("words", [("--model", "tinny"), ("--engine", "fast"), ("--dtype", "fp8"), ("--device", "gpu")])
def test_an_unknown_value_is_refused_before_any_job(gpu: Any, words: tuple[str, str]) -> None:
    with pytest.raises(SystemExit):
        gpu.script.arguments(words)


def test_a_try_on_the_cpu_does_not_overwrite_what_a_gpu_measured(gpu: Any) -> None:
    assert gpu.script.arguments([]).out.name == "gpu.json"
    assert gpu.script.arguments(["--device", "cpu"]).out.name == "gpu-cpu.json"
    assert gpu.script.arguments(["--device", "cpu", "--out", "mine.json"]).out == Path("mine.json")


def test_what_depends_on_a_failed_check_is_not_timed(gpu: Any) -> None:
    report = gpu.script.run_all(
        gpu.plan.planned("tiny", "", ()), runs(gpu, {"card": CARD, "check": checks("decoding")}), 480
    )
    timed = {one.job.name for one in report.outcomes if one.result is not None}
    assert timed == {
        "card",
        "check",
        "generate",
        "trl-grpo-lora",
        "trl-grpo-full",
        "dpo-lora",
        "trl-dpo-lora",
        "sft-1.5b",
    }
    assert report.outcomes[2].why_not == "not timed: decoding failed"
    assert report.status == 1


def test_checks_that_did_not_run_count_as_failed(gpu: Any) -> None:
    def run(job: Any, seconds: float) -> Any:
        if job.name == "check":
            return gpu.script.Outcome(job, why_not="failed with exit status 1", failed=True)
        return runs(gpu, {"card": CARD})(job, seconds)

    report = gpu.script.run_all(gpu.plan.planned("tiny", "", ("sft",)), run, 480)
    assert report.outcomes[-1].why_not == "not timed: memory, packing, precision failed"
    assert report.status == 1


def test_a_missing_peer_leaves_its_columns_empty_and_is_no_error(gpu: Any, capsys: pytest.CaptureFixture[str]) -> None:
    run = runs(gpu, {"card": CARD, "check": checks()}, missing=("trl-grpo-lora",))
    report = gpu.script.run_all(gpu.plan.planned("tiny", "", ("grpo-lora",)), run, 480)
    assert gpu.tables.comparisons(report) == [
        {"job": "grpo-lora", "peer": "trl-grpo-lora", "why_not": "not installed: trl"}
    ]
    assert report.status == 0
    gpu.tables.print_tables(report, "cpu")
    printed = capsys.readouterr().out
    assert "not installed: trl" in printed
    assert "say nothing about a GPU" in printed


def test_ratios_are_of_medians_and_of_peaks(gpu: Any) -> None:
    results = {"card": CARD, "check": checks(), "sample": {"seconds": 0.5, "peak_mib": 30.0},
               "generate": {"seconds": 4.0, "peak_mib": 60.0}}  # fmt: skip
    report = gpu.script.run_all(gpu.plan.planned("tiny", "", ("sample",)), runs(gpu, results), 480)
    assert gpu.tables.comparisons(report) == [
        {"job": "sample", "peer": "generate", "times_as_fast": 8.0, "share_of_memory": 0.5}
    ]


def test_jobs_beyond_the_time_are_left_out(gpu: Any) -> None:
    """30 s in all, of which each job takes 12: two run, the third would begin with 6 s left, the fourth with none."""
    moments = [0.0]

    def run(job: Any, seconds: float) -> Any:
        given.append(seconds)
        moments[0] += 12.0
        return runs(gpu, {"card": CARD, "check": checks()})(job, seconds)

    given: list[float] = []
    jobs = gpu.plan.planned("tiny", "", ("sample",))
    report = gpu.script.run_all(jobs, run, 30, clock=lambda: moments[0])
    assert [one.why_not for one in report.outcomes] == ["", "", "", "no time left"]
    assert given == [30.0, 18.0, 6.0]
    assert report.status == 0


def test_nothing_is_tried_on_a_device_that_is_not_there(gpu: Any) -> None:
    def run(job: Any, seconds: float) -> Any:
        return gpu.script.Outcome(job, why_not="failed with exit status 1", failed=True)

    report = gpu.script.run_all(gpu.plan.planned("", "", ()), run, 480)
    assert [one.job.name for one in report.outcomes] == ["card"]
    assert report.status == 1


def test_a_process_that_takes_too_long_is_ended(gpu: Any) -> None:
    status, _ = gpu.script.process([sys.executable, "-c", "import time; time.sleep(60)"], 1.0, {})
    assert status is None
    outcome = gpu.script.outcome_of("a job", None, "", 1.0, 1.0)
    assert (outcome.failed, outcome.why_not) == (True, "ended after 1 s")


def test_a_process_without_a_result_has_failed(gpu: Any) -> None:
    assert gpu.script.outcome_of("a job", 0, "no line", 9.0, 1.0).failed
    assert gpu.script.outcome_of("a job", 1, 'RESULT {"seconds": 1}', 9.0, 1.0).failed
    assert gpu.script.outcome_of("a job", 0, 'said\nRESULT {"seconds": 1}\n', 9.0, 1.0).result == {"seconds": 1}
    assert not gpu.script.outcome_of("a job", 0, 'RESULT {"missing": ["trl"]}', 9.0, 1.0).failed


@pytest.mark.slow
def test_everything_runs_on_a_cpu_with_the_tiny_model(repository: Path, tmp_path: Path) -> None:
    """Checks, sampling with its peer, PPO and DPO as processes; TRL is not installed here, or its numbers are there."""
    written = tmp_path / "gpu.json"
    command = [sys.executable, str(repository / "benchmarks" / "gpu.py"), "--device", "cpu", "--model", "tiny"]
    command += ["--only", "sample", "ppo-lora", "dpo", "--out", str(written)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(written.read_text())
    assert all(row["holds"] for row in found["checks"])
    assert {row["name"] for row in found["checks"]} == {"decoding", "logps", "packing", "precision", "memory"}
    assert found["jobs"]["sample"]["result"]["seconds"] > 0
    assert found["jobs"]["ppo-lora-8b"]["model"] == "tiny"
    peer = found["jobs"]["trl-dpo-lora"]
    assert (peer["result"] is None) == (peer["why_not"] is not None)
