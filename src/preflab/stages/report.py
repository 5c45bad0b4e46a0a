"""Stage `report`: one HTML page about the named stages, in the run folder and at the top of the workspace."""

from __future__ import annotations

from preflab.files import write_text
from preflab.settings.evaluation import ReportSettings
from preflab.stages.base import StageContext, StageResult
from preflab.words import count

VERSION = 1
needs_torch = False
PAGE = "report.html"


def run(ctx: StageContext) -> StageResult:
    """Write the page twice, since links to records are relative: `report.html` here and in the workspace."""
    from preflab.report.page import build_report

    settings: ReportSettings = ctx.settings
    folders = [ctx.inputs[name].folder for name in settings.of]
    before = [stage.folder for stage in ctx.upstream.values()]
    workspace = ctx.folder.parents[1]
    for base in (ctx.folder, workspace):
        page = build_report(folders, before=before, title=settings.title, num_samples=settings.num_samples, base=base)
        write_text(base / PAGE, page)
    return StageResult(f"{count(len(folders), 'stage')} on one page", link=str(workspace / PAGE))
