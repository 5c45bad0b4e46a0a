"""Stage `report`: writes one HTML page about the named stages into its run folder and into the workspace's folder.

In the workspace the page is `report.html`, or `report-RECIPE.html` if `report.html` belongs to another recipe.
"""

from __future__ import annotations

from preflab.files import write_text
from preflab.settings.evaluation import ReportSettings
from preflab.stages.base import StageContext, StageResult
from preflab.stages.common.workspace_page import page_name
from preflab.words import count

VERSION = 1
needs_torch = False
PAGE = "report.html"


def run(ctx: StageContext) -> StageResult:
    """Write the page into the run folder and into the workspace; it is built for each, since its links are relative."""
    from preflab.report.page import build_report

    settings: ReportSettings = ctx.settings
    folders = [ctx.inputs[name].folder for name in settings.of]
    before = [stage.folder for stage in ctx.upstream.values()]
    workspace = ctx.folder.parents[1]
    page = workspace / page_name(ctx.recipe.path, workspace, "report", "report")
    for place in (ctx.folder / PAGE, page):
        text = build_report(
            folders, before=before, title=settings.title, num_samples=settings.num_samples, base=place.parent
        )
        write_text(place, text)
    return StageResult(f"{count(len(folders), 'stage')} on one page", link=str(page))
