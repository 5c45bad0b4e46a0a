"""Build the report: one self-contained HTML page about the given runs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from preflab import __version__
from preflab.report.alarms import alarms_section
from preflab.report.blocks import Answer, Section
from preflab.report.classifiers import classifiers_section
from preflab.report.comparison import comparison_section
from preflab.report.constitution import constitution_section
from preflab.report.feedback import feedback_section
from preflab.report.frontier import frontier_section
from preflab.report.probes import probes_section
from preflab.report.provenance import provenance_section
from preflab.report.reward_model import reward_section
from preflab.report.rounds import rounds_section
from preflab.report.run_folders import Page, Run
from preflab.report.samples import samples_section
from preflab.report.training import training_section
from preflab.report.verdict import first_screen
from preflab.words import count

HERE = Path(__file__).parent
STYLES = (HERE.parent / "look.css", HERE / "style.css")


def build_report(
    run_folders: Sequence[Path | str],
    *,
    before: Sequence[Path | str] = (),
    title: str = "preflab report",
    num_samples: int = 12,
    base: Path | None = None,
) -> str:
    """The page as HTML; it opens offline and has no scripts.

    Args:
        run_folders: run folders in the order of the pipeline, of any kinds.
        before: folders of the stages that led to them; the page includes their time and their labels.
        title: heading of the page.
        num_samples: number of prompts shown with each model's completions.
        base: the folder in which the page will be stored; links to records are relative to it.

    Raises:
        PreflabError: a folder is not a run folder.
    """
    runs = [Run.read(Path(folder)) for folder in run_folders]
    page = Page(runs, base or Path(), num_samples, [Run.read(Path(folder)) for folder in before])
    return render_page(title, _subtitle(page), first_screen(page), sections(page))


def render_page(title: str, subtitle: str, first: Sequence[Answer], sections: Sequence[Section]) -> str:
    """One self-contained HTML page without scripts: the answers of the first screen, then the sections."""
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            title=title,
            subtitle=subtitle,
            style=Markup("".join(file.read_text(encoding="utf-8") for file in STYLES)),
            first=first,
            sections=sections,
            footer=f"Written by preflab {__version__}. This page has no scripts and loads nothing.",
        )
    )


def sections(page: Page) -> list[Section]:
    """The page's sections in display order, without empty ones."""
    makers = (
        comparison_section,
        samples_section,
        probes_section,
        alarms_section,
        frontier_section,
        training_section,
        rounds_section,
        reward_section,
        classifiers_section,
        constitution_section,
        feedback_section,
        provenance_section,
    )
    return [section for maker in makers if (section := maker(page)) is not None]


def _subtitle(page: Page) -> str:
    finished = max((str(run.manifest.get("finished") or "") for run in page.runs), default="")
    day = finished[:10] or datetime.now(UTC).date().isoformat()
    return f"{count(len(page.everything), 'stage')}, finished {day}, preflab {__version__}"


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("preflab.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
