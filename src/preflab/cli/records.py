"""`import` and `export`: read records into the workspace; write records and models to files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from preflab.cli import models
from preflab.cli.speaking import (
    DEFAULT_RECIPE,
    JsonOption,
    RecipeOption,
    SetOption,
    SplitOption,
    WorkspaceOption,
    command,
    padded,
    shown_path,
    speaking,
)
from preflab.errors import PreflabError
from preflab.words import count, plural

if TYPE_CHECKING:
    from preflab.store.exports.base import Settings
    from preflab.store.transfer import ExportSummary, ImportSummary, Read
    from preflab.store.workspace import Workspace

IMPORTS = """Import a file of records into the workspace: all of it, or nothing.

FILE is JSONL (.jsonl, .ndjson), a JSON list, CSV or TSV, each optionally gzipped; Parquet or Arrow; a folder of such
files, laid out as on the Hub or written by `save_to_disk`; or owner/name of a data set on the Hub, if the network is
allowed. The command says how each column was used. Formats (guessed from the columns by default): prompts,
demonstrations, text,
trl-explicit, trl-implicit, trl-unpaired, ratings, rankings, comparisons, hh-rlhf, hh-rlhf-chat, openai-preferences,
oasst, oasst-flat, ultrafeedback, nectar, rewardbench2, pku-saferlhf, helpsteer3, shp, stiennon, chatbot-arena,
chatbot-arena-55k, stack-exchange-paired, argilla, label-studio, and preflab's own judgments, preferences, completions.
"""
EXPORTS: Mapping[str, tuple[str, str]] = {
    "prompts": ("prompts", "Write prompts."),
    "demonstrations": ("demonstrations", "Write demonstrations: prompt and completion."),
    "completions": ("completions", "Write completions with their tokens and log-probabilities."),
    "judgments": (
        "judgments",
        "Write judgments as judgments (the archive: every revision of each), stiennon, chatbot-arena, argilla or "
        "rankings.",
    ),
    "preferences": (
        "trl-explicit",
        "Write preferences as trl-explicit, trl-conversational, trl-implicit, trl-unpaired, ratings, "
        "trl-prompt-completion, trl-text, hh-rlhf, ultrafeedback, oasst, openai-preferences, openai-messages or "
        "preferences.",
    ),
}
"""Command → its default format and its help text."""


FormatOption = Annotated[str | None, typer.Option("--format", help="The format; default: guessed.")]
ColumnOption = Annotated[
    list[str] | None, typer.Option("--column", metavar="OLD=NEW", help="Rename a column. May be repeated.")
]


def add_to(app: typer.Typer) -> None:
    """Register the commands of this file."""
    app.command("import", help=IMPORTS, short_help="Import a file of records into the workspace.")(import_file)
    export = typer.Typer(help="Write records, or a model as a plain Hugging Face folder.", no_args_is_help=True)
    for name, (format, about) in EXPORTS.items():
        export.command(name, help=about, short_help=about.partition(" as ")[0].rstrip(".") + ".")(
            _export_command(name, format)
        )
    models.add_export_to(export)
    app.add_typer(export, name="export")


def open_workspace(recipe: Path, overrides: list[str], workspace: Path | None, *, create: bool) -> Workspace:
    """Open the workspace named, else the recipe's if the recipe exists, else the current folder's."""
    from preflab.store.opening import opened

    if workspace is None and recipe.exists():
        from preflab.pipeline import workspace_folder
        from preflab.recipe import load_recipe

        workspace = workspace_folder(load_recipe(recipe, overrides))
    return opened(workspace or Path.cwd(), create=create)


def import_file(
    file: Annotated[Path, typer.Argument(help="File, folder or data set to read.")],
    format: FormatOption = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave bad rows out and report each by line.")] = False,
    limit: Annotated[int | None, typer.Option("--limit", help="Read at most so many rows.")] = None,
    column: ColumnOption = None,
    split: SplitOption = None,
    recipe: RecipeOption = DEFAULT_RECIPE,
    set_: SetOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    from preflab.store.transfer import read_import, store_import

    with speaking(as_json) as speaker:
        read = read_import(file, format, skip_bad=skip_bad, limit_rows=limit, rename=parse_renames(column), split=split)
        with open_workspace(recipe, set_ or [], workspace, create=True) as store:
            done = store_import(store, read)
            _recount_campaigns(store, read)
        for line in _summary_lines(done):
            speaker.say(line)
        following = (
            command("export", "preferences", "preferences.jsonl", recipe=recipe)
            if ("preference" in {**done.new, **done.known})
            else "name the file under `data:` of a recipe"
        )
        speaker.last(
            store.path,
            following,
            format=done.format,
            num_rows=done.num_rows,
            new=dict(done.new),
            known=dict(done.known),
            left_out=dict(done.left_out),
            columns=dict(done.columns),
            repeats={str(line): earlier for line, earlier in done.repeats.items()},
            notes=list(read.imported.notes),
            problems=[{"line": p.line, "found": p.found, "expected": p.expected} for p in done.problems],
        )


def _recount_campaigns(store: Workspace, read: Read) -> None:
    """Let this workspace's campaigns count imported judgments, so that nobody is asked for those labels again."""
    if not read.imported.judgments:
        return
    from preflab.labelling.campaigns import list_campaigns
    from preflab.labelling.tasks import recount

    for view in list_campaigns(store):
        recount(store, view.campaign.id)


def _summary_lines(done: ImportSummary) -> list[str]:
    """The lines to print: imported records by kind, then the rows left out, by reason with their line numbers."""
    guessed = f" (guessed from the first {done.guess.num_rows})" if done.guess else ""
    printed = [f"{count(done.num_rows, 'row')} of {shown_path(done.path)}, read as {done.format}{guessed}"]
    printed += padded([(f"  {kind}s", _new_and_known(done, kind)) for kind in dict.fromkeys([*done.new, *done.known])])
    printed += [f"  {line}" for line in done.said]
    reasons: dict[str, list[int]] = {}
    for problem in done.problems:
        reasons.setdefault(problem.found, []).append(problem.line)
    if reasons:
        printed.append(f"{count(len(done.problems), 'row')} left out:")
    printed += [f"  {_lines(done.unit, lines)}: {found}" for found, lines in islice(reasons.items(), SHOWN)]
    if len(reasons) > SHOWN:
        printed.append(f"  and for {count(len(reasons) - SHOWN, 'more reason')}; --json lists every row")
    return printed


def _new_and_known(done: ImportSummary, kind: str) -> str:
    counts = {"new": done.new.get(kind, 0), "known already": done.known.get(kind, 0)}
    return ", ".join(f"{number:,} {word}" for word, number in counts.items() if number)


def _lines(unit: str, numbers: list[int]) -> str:
    """`line 7` or `lines 7, 12`; at most SHOWN numbers."""
    shown = ", ".join(map(str, numbers[:SHOWN]))
    more = f" and {len(numbers) - SHOWN:,} more (--json lists them)" if len(numbers) > SHOWN else ""
    return f"{plural(len(numbers), unit)} {shown}{more}"


SHOWN = 20
"""Most reasons, and most line numbers per reason, that an import prints."""


def parse_renames(column: list[str] | None) -> dict[str, str]:
    """The renames of --column: the file's column name → the name in its format.

    Raises:
        PreflabError: an entry is not OLD=NEW.
    """
    renamed = {}
    for text in column or []:
        old, equals, new = text.partition("=")
        if not (old and equals and new):
            raise PreflabError(f"--column {text}", "OLD=NEW", "for example --column question=prompt")
        renamed[old] = new
    return renamed


def _export_command(kind: str, usual: str) -> Callable[..., None]:
    def export(
        file: Annotated[Path, typer.Argument(help="File to write; ends in .jsonl, .parquet or .csv.")],
        format: Annotated[str, typer.Option("--format", help="The format.")] = usual,
        source: Annotated[
            str | None,
            typer.Option("--source", help="Only records of this source (for prompts: of sources that start with it)."),
        ] = None,
        campaign: Annotated[
            str | None, typer.Option("--campaign", help="Only records of this campaign (id or name).")
        ] = None,
        model: Annotated[str | None, typer.Option("--model", help="Only completions of this model, by id.")] = None,
        strict: Annotated[bool, typer.Option("--strict", help="Only the columns that trainers read.")] = False,
        criterion: Annotated[
            str | None,
            typer.Option(
                "--criterion", help="For labels from scores: the criterion that counts; default: the mean of all."
            ),
        ] = None,
        good_from: Annotated[
            float, typer.Option("--good-from", help="For labels from scores: this score or more is good.")
        ] = 4,
        bad_to: Annotated[
            float, typer.Option("--bad-to", help="For labels from scores: this score or less is bad.")
        ] = 2,
        failed_as_rejected: Annotated[
            bool,
            typer.Option(
                "--failed-as-rejected",
                help="For pairs: add every completion without an F as chosen over each one with an F.",
            ),
        ] = False,
        margin: Annotated[bool, typer.Option("--margin", help="For pairs: add the column `margin`.")] = False,
        recipe: RecipeOption = DEFAULT_RECIPE,
        set_: SetOption = None,
        workspace: WorkspaceOption = None,
        as_json: JsonOption = False,
    ) -> None:
        from preflab.store.exports.base import Settings
        from preflab.store.transfer import Selection, export_from

        with speaking(as_json) as speaker:
            chosen = Selection(source=source, campaign=campaign, model=model)
            settings = Settings(strict, criterion, good_from, bad_to, failed_as_rejected, margin)
            with open_workspace(recipe, set_ or [], workspace, create=False) as store:
                named = campaign if kind == "preferences" else None
                done = named and _export_unused_labels(store, named, file, format, settings)
                done = done or export_from(store, file, format, selection=chosen, settings=settings)
            rows, manifest = count(done.num_rows, "row"), shown_path(done.manifest_path)
            speaker.say(f"{rows}, format {done.format}; {manifest} names their origin")
            for reason, number in done.dropped.items():
                speaker.say(f"  left out: {number:,} {reason}")
            for what, number in done.changed.items():
                speaker.say(f"  in another form: {number:,} {what}")
            for part, number in done.left_out.items():
                speaker.say(f"  no place in the format: {number:,} {part}")
            speaker.last(
                done.path,
                f"load it with datasets.load_dataset, or `preflab import {shown_path(done.path)}` elsewhere",
                format=done.format,
                num_rows=done.num_rows,
                dropped=dict(done.dropped),
                changed=dict(done.changed),
                left_out=dict(done.left_out),
                manifest=str(done.manifest_path),
            )

    return export


def _export_unused_labels(
    store: Workspace, campaign: str, file: Path, format: str, settings: Settings
) -> ExportSummary | None:
    """Export the consensus of a campaign whose judgments no stored preference uses yet.

    None if a preference uses them, or if there is not exactly one campaign of this name or id here.
    """
    from preflab.labelling.campaigns import list_campaigns
    from preflab.labelling.exporting import write_labels
    from preflab.store.exports import export_named
    from preflab.store.transfer import summary_of

    here = [view.campaign.id for view in list_campaigns(store) if campaign in (view.campaign.id, view.campaign.name)]
    if len(here) != 1:
        return None
    judgments = {judgment.id for judgment in store.judgments(campaign_id=here[0], all_revisions=True)}
    if any(judgments.intersection(preference.judgment_ids) for preference in store.preferences()):
        return None
    manifest = write_labels(store, here[0], export_named(format), file, settings)
    return summary_of(file, manifest)
