"""The tables of benchmarks/gpu.py: checks, figures with their floors, ratios to the peers, and where the time goes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpu_figures import Speeds, data_sheet, mfu, seconds_by_bytes, seconds_by_operations
from gpu_plan import work_of
from running import table

PARTS = {"sampling": "sampling_seconds", "rollout passes": "rollout_seconds", "scoring": "scoring_seconds",
         "update": "update_seconds"}  # fmt: skip

RATES = {"tokens_per_s": "tokens", "sampled_tokens_per_s": "sampled", "pairs_per_s": "pairs"}
"""Key of a result → its unit. `sampled`: tokens per second of the step's sampling alone."""

NOT_A_MEASUREMENT = (
    "Measured on a CPU, to try the script: floors, MFU and ratios say nothing about a GPU, and memory is that of the "
    "whole process."
)


def speeds_of(report: Any) -> Speeds | None:
    """What the device reached in the first job."""
    card = report.result("card")
    return None if card is None else Speeds(card["bandwidth"], card["operations"])


def figures(one: Any, speeds: Speeds | None, sheet: Speeds | None) -> dict[str, float]:
    """The numbers of a job with a result: seconds, peak memory, floors, MFU by measured and by published speed."""
    numbers = {"seconds": one.result["seconds"], "peak_mib": one.result["peak_mib"]}
    if one.job.is_peer and one.job.job != "generate":
        return numbers
    work = work_of(one.job, one.result)
    if speeds is not None:
        if work.bytes:
            numbers["floor_by_bytes"] = seconds_by_bytes(work.bytes, speeds)
        numbers["floor_by_operations"] = seconds_by_operations(work.operations, speeds)
    if work.update:
        for name, one_speed in (("mfu", speeds), ("mfu_by_data_sheet", sheet)):
            if one_speed is not None:
                numbers[name] = mfu(work.update, one.result["update_seconds"], one_speed)
    return numbers


def timed(report: Any) -> list[Any]:
    """The outcomes of the timed jobs."""
    return [one for one in report.outcomes if one.job.name not in ("card", "check")]


def comparisons(report: Any) -> list[dict[str, Any]]:
    """Each job that has one to compare with: ratios of medians, or the reason why there are none."""
    rows = []
    for one in timed(report):
        if not one.job.against:
            continue
        peer = next((other for other in report.outcomes if other.job.name == one.job.against), None)
        row: dict[str, Any] = {"job": one.job.name, "peer": one.job.against}
        if one.result is None:
            row["why_not"] = one.why_not
        elif peer is None or peer.result is None:
            row["why_not"] = "not run" if peer is None else peer.why_not
        else:
            row["times_as_fast"] = peer.result["seconds"] / one.result["seconds"]
            row["share_of_memory"] = one.result["peak_mib"] / peer.result["peak_mib"]
        rows.append(row)
    return rows


def shares(result: Mapping[str, Any]) -> dict[str, float]:
    """Share of a step by part; what is in none of them (advantages, log) is `other`."""
    found = {name: result[key] / result["seconds"] for name, key in PARTS.items() if key in result}
    return {**found, "other": max(0.0, 1 - sum(found.values()))}


def print_tables(report: Any, device: str) -> None:
    """Print everything."""
    card, speeds = report.result("card"), speeds_of(report)
    sheet = data_sheet(card["name"]) if card else None
    if card is not None and speeds is not None:
        reached = f"{speeds.bandwidth / 1e12:.3g} TB/s in a copy, {speeds.operations / 1e12:.3g} TFLOP/s in a product"
        listed = f"; data sheet {sheet.bandwidth / 1e12:.3g} and {sheet.operations / 1e12:.3g}" if sheet else ""
        print(f"{card['name']}, torch {card['torch']}: {reached}{listed}\n")
    _print_checks(report)
    _print_figures(report, speeds, sheet)
    rows = [
        [row["job"], row["peer"], *([row["why_not"], ""] if "why_not" in row else
         [f"{row['times_as_fast']:.2f} ×", f"{row['share_of_memory']:.2f}"])]
        for row in comparisons(report)
    ]  # fmt: skip
    if rows:
        print("\n" + table(("job", "compared with", "times as fast", "share of its memory"), rows))
    parts = [
        (one.job.name, shares(one.result)) for one in timed(report) if one.result and "sampling_seconds" in one.result
    ]
    if parts:
        names = list(parts[0][1])
        rows = [[name, *(f"{share[part]:.0%}" for part in names)] for name, share in parts]
        print("\n" + table(("share of a step", *names), rows))
    if device == "cpu":
        print("\n" + NOT_A_MEASUREMENT)


def _print_checks(report: Any) -> None:
    def shown(value: float | None) -> str:
        return "raised" if value is None else f"{value:.3g}"

    rows = [
        [row["name"], row["what"], shown(row["value"]), shown(row["bound"]), "holds" if row["holds"] else "FAILED"]
        for row in report.checks
    ]
    if rows:
        print(table(("check", "compared", "differs by", "at most", ""), rows) + "\n")


def _print_figures(report: Any, speeds: Speeds | None, sheet: Speeds | None) -> None:
    head = ("job", "model", "median s", "per s", "peak MiB", "floor: bytes", "operations", "MFU", "by data sheet")
    rows = []
    for one in timed(report):
        if one.result is None:
            rows.append([one.job.name, one.job.model, one.why_not, *[""] * (len(head) - 3)])
            continue
        numbers = figures(one, speeds, sheet)
        rates = [f"{one.result[key]:.0f} {unit}" for key, unit in RATES.items() if key in one.result]
        cells = [_seconds(numbers.get(key)) for key in ("floor_by_bytes", "floor_by_operations")]
        cells += [f"{numbers[key]:.1%}" if key in numbers else "" for key in ("mfu", "mfu_by_data_sheet")]
        memory = f"{numbers['peak_mib']:.0f}"
        rows.append([one.job.name, one.job.model, f"{numbers['seconds']:.3g}", "".join(rates), memory, *cells])
    print(table(head, rows))


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.2g} s"


def as_json(report: Any, device: str) -> dict[str, Any]:
    """Everything that was found."""
    speeds, card = speeds_of(report), report.result("card")
    sheet = data_sheet(card["name"]) if card else None
    jobs = {}
    for one in timed(report):
        size = one.job.size
        jobs[one.job.name] = {
            "model": one.job.model,
            "dtype": one.job.dtype,
            "lora": one.job.lora,
            "size": {"rows": size.rows, "prompt_tokens": size.prompt, "new_tokens": size.new},
            "why_not": one.why_not or None,
            "result": one.result,
            "figures": None if one.result is None else figures(one, speeds, sheet),
            "wall_s": one.wall_s,
        }
    return {"device": device, "card": card, "checks": report.checks, "jobs": jobs, "comparisons": comparisons(report)}
