"""The section "What was run": stages with keys, seeds and times, software versions, and the resolved settings."""

from __future__ import annotations

import json

from preflab.report.blocks import Block, Cell, Figure, Fold, Section, Source, Table, numbers
from preflab.report.charts import Bar, bar_chart
from preflab.report.run_folders import Page
from preflab.words import column, duration, percent, shortened


def provenance_section(page: Page) -> Section:
    """Stages, wall-clock time, hashes, versions, recipe and settings."""
    blocks: list[Block] = [_stages(page)]
    if chart := _time(page):
        blocks.append(chart)
    blocks += [table for table in (_hashes(page), _versions(page)) if table.rows]
    recipe = _recipe(page)
    if recipe is not None:
        blocks.append(Fold("The recipe, resolved", [recipe]))
    settings = [Source(run.name, json.dumps(run.settings, indent=2, ensure_ascii=False)) for run in page.everything]
    blocks.append(Fold("Settings of every stage, resolved", settings))
    return Section("run", "What was run", blocks)


def _stages(page: Page) -> Table:
    rows = []
    for run in page.everything:
        manifest = run.manifest
        rows.append([
            Cell(run.name, href=page.link(run).href), Cell(run.kind), Cell(str(manifest.get("state", ""))),
            Cell(shortened(str(manifest.get("summary", "")), 90), role="long"),
            *numbers(duration(run.seconds), str(manifest.get("seed", ""))),
            Cell(str(manifest.get("key", ""))[:12], code=True, href=page.link(run, "manifest.json").href),
            Cell(str(manifest.get("finished", "") or "")[:16].replace("T", " ")),
        ])  # fmt: skip
    head = ["stage", "kind", "state", "result", "took", "seed", "key", "finished (UTC)"]
    caption = "A key is the hash of a stage’s resolved settings, its inputs’ keys and its version."
    return Table(head, rows, "", caption)


def _time(page: Page) -> Figure | None:
    timed = [(run, float(run.seconds)) for run in page.everything if run.seconds]
    if len(timed) < 2:
        return None
    total = sum(seconds for _, seconds in timed)
    longest, most = max(timed, key=lambda pair: pair[1])
    bars = [Bar(run.name, seconds, "reference", text=duration(seconds)) for run, seconds in timed]
    shares = column([seconds / total for _, seconds in timed], percent)
    title = f"{longest.name} took {shares[timed.index((longest, most))]} of {duration(total)}"
    rows = [
        [Cell(run.name), *numbers(duration(seconds), share)]
        for (run, seconds), share in zip(timed, shares, strict=True)
    ]
    return Figure(
        title, bar_chart(bars, x="seconds", description=title), "Wall-clock time of each stage named in this report.",
        Table(["stage", "took", "share"], rows),
    )  # fmt: skip


def _hashes(page: Page) -> Table:
    """A table of content hashes: frozen preferences, the base of reward models, the weights of evaluated models."""
    rows: list[list[Cell]] = []
    for run in page.everything:
        snapshot = run.json("snapshot/manifest.json")
        if snapshot.get("content_hash"):
            rows.append([Cell(f"preferences of {run.name}"), Cell(str(snapshot["content_hash"]), code=True)])
        report = run.json("reward_report.json")
        if report.get("base"):
            rows.append([Cell(f"base of {run.name}"), Cell(str(report["base"]), code=True)])
        for model in run.json("evaluation.json").get("models", []):
            if model.get("weights"):
                rows.append([Cell(f"weights of {model['name']}"), Cell(str(model["weights"]), code=True)])
    return Table(["content", "hash"], rows)


def _recipe(page: Page) -> Source | None:
    """The resolved recipe in the folder of the last stage that has one; None if none has."""
    for run in reversed(page.everything):
        path = run.folder / "recipe.resolved.yaml"
        if path.is_file():
            return Source(run.name, path.read_text(encoding="utf-8"))
    return None


def _versions(page: Page) -> Table:
    names = dict.fromkeys(name for run in page.everything for name in (run.manifest.get("versions") or {}))
    rows = []
    for name in names:
        versions = sorted({str((run.manifest.get("versions") or {}).get(name, "–")) for run in page.everything})
        rows.append([Cell(name), Cell(", ".join(versions), code=True)])
    return Table(["software", "version"], rows)
