"""Reads run folders for the replay: metrics, alarms and kept rollouts as the JSON that the page reads, bounded in size.

The page stays under 5 MB: steps are read in an order that spreads over the run, those of alarms first, until the
room is used. What was left out is said in `left_out`, and the page shows it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from preflab.errors import PreflabError
from preflab.explain.inline import json_in_script
from preflab.explain.replay_alarms import alarm_view
from preflab.explain.replay_rows import pack_floats, pack_row, spread_order
from preflab.explain.rollout_files import read_step_file
from preflab.files import read_json, read_jsonl
from preflab.training.metrics import described_metric
from preflab.training.record_columns import PAIRS, ROLLOUTS, Column
from preflab.training.step_files import step_files, step_of
from preflab.words import count

ON_POLICY = ("ppo", "grpo", "online_dpo")
"""Kinds of stages that keep rollouts."""
OF_PAIRS = ("dpo", "reward")
"""Kinds of stages that can keep pairs."""
MOST_BYTES = 4_000_000
"""Most bytes of kept rollouts on the page, over all of its runs."""
MOST_STEPS, MOST_ROWS = 200, 16
"""Most steps of a run on the page, and most rollouts of a step."""
MOST_POINTS = 1_000
"""Most steps of the curves."""
FIRST = ("reward/mean", "score/held_out", "kl/exact", "entropy/mean", "length/mean", "accuracy/implicit")
"""Metrics that the page lists first."""
SETTINGS = (
    "gamma", "lam", "kl_coef", "kl_treatment", "whiten_advantages", "bootstrap_truncated", "num_completions_per_step",
)  # fmt: skip
"""Settings that the page's explanations name."""


def replay_data(
    folders: Sequence[Path],
    *,
    most_steps: int = MOST_STEPS,
    most_rows: int = MOST_ROWS,
    most_bytes: int = MOST_BYTES,
) -> dict[str, Any]:
    """The data of the page about one or two runs.

    Args:
        folders: run folders of stages that learn.
        most_steps: most steps of a run with their kept rollouts.
        most_rows: most rollouts of a step.
        most_bytes: most bytes of rollouts as JSON, over all runs.

    Raises:
        PreflabError: a folder is no run folder, its stage does not learn, or an on-policy run kept no rollouts.
    """
    runs = [_read_run(Path(folder), most_steps, most_rows, most_bytes // len(folders)) for folder in folders]
    names = list(dict.fromkeys(name for run in runs for name in run["metrics"]["series"]))
    described = {name: entry for name in names if (entry := described_metric(name)) is not None}
    return {
        "schema": 1,
        "runs": _distinct_names(runs),
        "metrics": sorted(names, key=lambda name: (FIRST.index(name) if name in FIRST else len(FIRST), name)),
        "glossary": {
            name: {"meaning": entry.meaning, "unit": entry.unit, "healthy": entry.healthy, "trouble": entry.trouble}
            for name, entry in described.items()
        },
    }


def _read_run(folder: Path, most_steps: int, most_rows: int, most_bytes: int) -> dict[str, Any]:
    manifest = _manifest(folder)
    kind, settings = str(manifest["kind"]), manifest.get("settings") or {}
    files = {step_of(path): path for path in step_files(folder / ("pairs" if kind in OF_PAIRS else "rollouts"))}
    if not files and kind in ON_POLICY:
        raise _without_rollouts(folder, str(manifest["stage"]))
    metrics, alarms = read_jsonl(folder / "metrics.jsonl"), read_jsonl(folder / "alarms.jsonl")
    about = ROLLOUTS if kind in ON_POLICY else PAIRS
    alarmed = [alarm["step"] for alarm in alarms]
    rows, left_out = _read_steps(files, about, alarmed, most_steps, most_rows, most_bytes)
    series, remark = _series(metrics)
    return {
        "name": str(manifest["stage"]),
        "kind": kind,
        "folder": folder.resolve().name,
        "settings": {name: settings[name] for name in SETTINGS if settings.get(name) is not None},
        "temperature": (settings.get("decoding") or {}).get("temperature", 1.0),
        "metrics": series,
        "alarms": [{**alarm, **alarm_view(alarm["alarm"])} for alarm in alarms],
        "rows": rows,
        "leftOut": [*left_out, *remark],
        "note": "" if files else _keeps_none(kind, str(manifest["stage"])),
    }


def _manifest(folder: Path) -> Mapping[str, Any]:
    """The manifest of a stage that learns."""
    if not (folder / "manifest.json").is_file():
        raise PreflabError(
            f"{folder}: no manifest.json", "the folder of a run", "name a folder below the workspace's runs/"
        )
    manifest: Mapping[str, Any] = read_json(folder / "manifest.json")
    if manifest.get("kind") not in (*ON_POLICY, *OF_PAIRS):
        raise PreflabError(
            f"{folder}: a stage of kind {manifest.get('kind')}",
            f"a stage that keeps what it learned from: {', '.join((*ON_POLICY, *OF_PAIRS))}",
            "name the folder of such a stage",
        )
    return manifest


def _without_rollouts(folder: Path, stage: str) -> PreflabError:
    again = f"`preflab run --fresh {stage}` runs the stage again"
    if (folder / "rollouts.jsonl").is_file():
        return PreflabError(
            f"{folder}: rollouts.jsonl, the record of an older version, has no log-probabilities",
            "a folder rollouts/ with one Parquet file per step",
            again,
        )
    return PreflabError(
        f"{folder}: no kept rollouts",
        "a folder rollouts/ with one Parquet file per step",
        f"set num_kept_rollouts of {stage} above 0; {again}",
    )


def _keeps_none(kind: str, stage: str) -> str:
    """The setting to change so that a stage of pairs keeps some."""
    return (
        f"{stage} ({kind}) kept no pairs, so only its curves are shown. `num_kept_pairs` of the stage keeps some: "
        f"preflab run --set stages.{stage}.num_kept_pairs=8 --fresh {stage}. KTO alone learns from no pairs."
    )


def _read_steps(
    files: Mapping[int, Path],
    about: Mapping[str, Column],
    alarmed: Sequence[int],
    most_steps: int,
    most_rows: int,
    most_bytes: int,
) -> tuple[list[dict[str, Any]], list[str]]:
    """The packed rows of as many steps as there is room for, by step, and sentences about what was left out.

    The steps of alarms come first, then the first, the last, and always the middle of the widest gap.
    """
    steps = list(files)
    near = [min(steps, key=lambda step: abs(step - at)) for at in alarmed] if steps else []
    order = list(dict.fromkeys([*near, *(steps[index] for index in spread_order(len(steps)))]))
    room, taken, cut_rows, num_long = most_bytes, {}, 0, 0
    for step in order[:most_steps]:
        rows = read_step_file(files[step], about).to_pylist()
        packed = [pack_row(row) for row in rows[: _even(most_rows, rows)]]
        sizes = [len(json_in_script(row).encode()) for row in packed]
        fits = _even(_num_fitting(sizes, room), rows)
        if not fits and rows:
            break
        room -= sum(sizes[:fits])
        taken[step] = packed[:fits]
        cut_rows += len(rows) - fits
        num_long += sum(row["gap"] > 0 for row in packed[:fits])
    notes = []
    if len(taken) < len(steps):
        notes.append(
            f"{len(taken):,} of {count(len(steps), 'kept step')} are on this page, those of alarms among them."
        )
    if cut_rows:
        notes.append(f"{count(cut_rows, 'kept rollout')} of these steps had no room on this page.")
    if num_long:
        notes.append(f"Of {count(num_long, 'long rollout')} only the first and the last tokens are on this page.")
    return [row for step in sorted(taken) for row in taken[step]], notes


def _even(num: int, rows: Sequence[Mapping[str, Any]]) -> int:
    """The number of rows to take, so that no pair loses one of its sides."""
    return num - num % 2 if rows and "side" in rows[0] else num


def _num_fitting(sizes: Sequence[int], room: int) -> int:
    """Number of first rows that fit into this many bytes."""
    for index, size in enumerate(sizes):
        room -= size
        if room < 0:
            return index
    return len(sizes)


def _series(rows: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], list[str]]:
    """Steps and packed values of every metric, NaN where it was not logged, and a sentence if steps were left out."""
    stride = math.ceil(len(rows) / MOST_POINTS) or 1
    kept = [row for index, row in enumerate(rows) if index % stride == 0 or index == len(rows) - 1]
    names = sorted({name for row in rows for name, value in row.items() if isinstance(value, int | float)} - {"step"})
    series = {name: pack_floats([row.get(name) for row in kept]) for name in names}
    remark = [f"Curves show every {stride}th of {count(len(rows), 'step')}."] if stride > 1 else []
    return {"steps": [int(row["step"]) for row in kept], "series": series}, remark


def _distinct_names(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The runs; two of one stage's name are called by their folders."""
    if len({run["name"] for run in runs}) < len(runs):
        for run in runs:
            run["name"] = run["folder"]
    return runs
