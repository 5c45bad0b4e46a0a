"""Stage `report`: writes one HTML page about the named stages into its run folder and into the workspace's folder.

In the workspace the page is `report.html`, or `report-RECIPE.html` if `report.html` belongs to another recipe.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from preflab.files import write_text
from preflab.settings.evaluation import ReportSettings
from preflab.stages.base import StageContext, StageResult
from preflab.stages.common.manifest import read_manifest
from preflab.words import count

VERSION = 1
needs_torch = False
PAGE = "report.html"
WRITTEN_OUT = " with every default written out"
"""The text after the recipe's name in the first line of a run's `recipe.resolved.yaml`."""


def run(ctx: StageContext) -> StageResult:
    """Write the page into the run folder and into the workspace; it is built for each, since its links are relative."""
    from preflab.report.page import build_report

    settings: ReportSettings = ctx.settings
    folders = [ctx.inputs[name].folder for name in settings.of]
    before = [stage.folder for stage in ctx.upstream.values()]
    workspace = ctx.folder.parents[1]
    page = workspace / page_name(ctx.recipe.path, workspace)
    for place in (ctx.folder / PAGE, page):
        text = build_report(
            folders, before=before, title=settings.title, num_samples=settings.num_samples, base=place.parent
        )
        write_text(place, text)
    return StageResult(f"{count(len(folders), 'stage')} on one page", link=str(page))


def page_name(recipe: Path, workspace: Path) -> str:
    """The name of a recipe's page in a workspace: `report.html` unless that is another recipe's page."""
    owner = _owner(workspace)
    return PAGE if owner in ("", recipe.name) else f"report-{recipe.stem}.html"


def _owner(workspace: Path) -> str:
    """The file name of the recipe that last wrote `report.html`; "" if unknown."""
    if not (workspace / PAGE).is_file():
        return ""
    owners: list[tuple[str, str]] = []
    for folder in (path.parent for path in (workspace / "runs").glob("*/manifest.json")):
        manifest: Mapping[str, Any] = read_manifest(folder)
        resolved = folder / "recipe.resolved.yaml"
        if manifest.get("kind") == "report" and Path(str(manifest.get("link"))).name == PAGE and resolved.is_file():
            first, _, _ = resolved.read_text(encoding="utf-8").partition("\n")
            owners.append((str(manifest.get("finished")), first.removeprefix("# ").partition(WRITTEN_OUT)[0]))
    return max(owners, default=("", ""))[1]
