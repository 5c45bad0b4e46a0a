"""Imports files into a workspace and exports records from it, for the commands `import` and `export`."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from preflab.errors import PreflabError, nearest
from preflab.progress import progress
from preflab.records import Judgment, Preference
from preflab.store.exports import export_named
from preflab.store.exports.base import Export, Material, Settings, manifest_of, write_rows
from preflab.store.exports.images import without_images
from preflab.store.exports.left_out import count_left_out
from preflab.store.formats import format_named
from preflab.store.formats.detect import Guess, detect
from preflab.store.formats.imported import Imported
from preflab.store.formats.json_rows import Problem
from preflab.store.incoming import place_records
from preflab.store.workspace import Workspace

SUPERSEDED = "preferences learned from fewer of the same labels"


@dataclass(frozen=True)
class ImportSummary:
    """The result of an import."""

    path: Path
    format: str
    guess: Guess | None
    """The guess of the format with its certainty; None if the format was named."""
    num_rows: int
    new: Mapping[str, int]
    """Kind of record → number of new records."""
    known: Mapping[str, int]
    """Kind of record → number of records that were already stored."""
    problems: Sequence[Problem]
    """Rows left out (only with `skip_bad`), by line."""
    left_out: Mapping[str, int]
    """Reason → number of parts of good rows that could not become records."""
    demonstrations: Sequence[str] = ()
    """Ids of completions that are demonstrations."""
    unit: str = "line"
    columns: Mapping[str, Any] = field(default_factory=dict)
    """How the file's columns were treated: used (column → its use), kept, left_out, empty."""
    repeats: Mapping[int, int] = field(default_factory=dict)
    """Line of a row that repeats an earlier row → the line of the first such row."""
    said: Sequence[str] = ()
    """Lines for the user: columns, equal rows, assumptions and what was left out."""


@dataclass(frozen=True)
class ExportSummary:
    """The result of an export."""

    path: Path
    format: str
    manifest_path: Path
    num_rows: int
    dropped: Mapping[str, int]
    """Reason → number of records dropped."""
    changed: Mapping[str, int]
    """Change → number of values written in a changed form."""
    left_out: Mapping[str, int]
    """Part of records → number of them that the format cannot hold."""
    manifest: Mapping[str, Any]


@dataclass(frozen=True)
class Selection:
    """Which records to export; all of them if every field is None."""

    ids: Sequence[str] | None = None
    """Ids of records of the kind that the format exports (`Export.of`)."""
    prompt_ids: Sequence[str] | None = None
    campaign: str | None = None
    """Id or name of a campaign; for judgments, and for preferences derived from them."""
    source: str | None = None
    """For preferences, their source; for prompts, the beginning of their source, e.g. a file name."""
    model: str | None = None
    """For completions."""


ALLOWED: Mapping[str, set[str]] = {
    "prompt": {"ids", "source"},
    "completion": {"ids", "prompt_ids", "model"},
    "preference": {"ids", "prompt_ids", "campaign", "source"},
    "judgment": {"ids", "campaign"},
}


@dataclass(frozen=True)
class Read:
    """A file that has been read but not stored."""

    imported: Imported
    guess: Guess | None


def read_import(
    path: Path | str,
    format: str | None = None,
    *,
    skip_bad: bool = False,
    limit_rows: int | None = None,
    rename: Mapping[str, str] | None = None,
    split: str | None = None,
) -> Read:
    """Read a file without a workspace, so that none is created for a file that is refused.

    Args:
        path: a file, a folder, or the id of a data set on the Hub.
        format: one of `formats.FORMATS`; None: guessed from the first rows.
        skip_bad: leave bad rows out and report each by line, instead of refusing the file.
        limit_rows: the most rows to read.
        rename: column of the file → the name that the format expects.
        split: the split to read, if the folder or data set has several.

    Raises:
        PreflabError: no such file, a format that cannot be guessed, bad rows (with `skip_bad`: no good row).
    """
    path = Path(path)
    guess = None if format else detect(path, rename=rename, split=split)
    chosen = format_named(format or (guess.format if guess else ""))
    imported = chosen.read(
        path, limit_rows=limit_rows, skip_bad=skip_bad, rename=rename, split=split, guessed=guess is not None
    )
    if imported.problems and len(imported.problems) == imported.num_rows:
        first = imported.problems[0]
        raise PreflabError(
            f"{path}: none of the {imported.num_rows:,} rows can be used; {imported.unit} {first.line}: {first.found}",
            "at least one good row",
            "correct the rows, or name another --format",
        )
    return Read(imported, guess)


def store_import(workspace: Workspace, read: Read) -> ImportSummary:
    """Store the records of a file in one transaction, all or none.

    Raises:
        PreflabError: records that clash with stored ones, a full disk.
    """
    imported = read.imported
    records = place_records(workspace, imported)
    with progress("store", len(records)) as bar:
        new = workspace.put(records, bar.advance)
    kinds = [type(record).__name__.lower() for record in records]
    return ImportSummary(
        path=imported.path,
        format=imported.format,
        guess=read.guess,
        num_rows=imported.num_rows,
        new={kind: number for kind, number in new.items() if number},
        known={kind: kinds.count(kind) - new[kind] for kind in dict.fromkeys(kinds) if kinds.count(kind) > new[kind]},
        problems=tuple(imported.problems),
        left_out=imported.left_out,
        demonstrations=tuple(imported.demonstrations),
        unit=imported.unit,
        columns=imported.columns.to_json(),
        repeats=imported.repeats,
        said=tuple(imported.lines()),
    )


def export_from(
    workspace: Workspace,
    path: Path | str,
    format: str,
    *,
    selection: Selection | None = None,
    settings: Settings | None = None,
) -> ExportSummary:
    """Write records to a file with a manifest beside it; equal records and settings give equal bytes.

    Args:
        workspace: with the records.
        path: the file, ending in .jsonl, .parquet or .csv.
        format: one of `exports.EXPORTS`.
        selection: which records; None: all.
        settings: strict columns, thresholds of labels.

    Raises:
        PreflabError: an unknown format or selection, nothing to write, a full disk.
    """
    path, export = Path(path), export_named(format)
    selection, settings = selection or Selection(), settings or Settings()
    _check_selection(export, selection)
    records = _select_records(workspace, export, selection)
    current = newest(records) if export.of == "preference" and selection.ids is None else records
    material = _gather_material(workspace, export, current, settings)
    material.drop(SUPERSEDED, len(records) - len(current))
    records = without_images(workspace, export, current, material)
    export.check(material.prompts.values())
    rows = [row for unit in export.units(records) for row in export.rows(unit, material)]
    if not rows:
        dropped = "; ".join(f"{reason}: {number}" for reason, number in sorted(material.dropped.items()))
        raise PreflabError(
            f"{path}: nothing to write as {format} from {len(records)} {export.of}s" + f" ({dropped})" * bool(dropped),
            f"{export.of}s that {format} can hold",
            "import or create some first, or select others",
        )
    count_left_out(export, records, material)
    chosen = {name: value for name, value in asdict(selection).items() if value is not None}
    manifest = write_rows(path, rows, export=export, material=material, chosen=chosen)
    return summary_of(path, manifest)


def summary_of(path: Path, manifest: Mapping[str, Any]) -> ExportSummary:
    """The summary of an export, from its manifest."""
    counts = {name: manifest[name] for name in ("num_rows", "dropped", "changed", "left_out")}
    return ExportSummary(path, manifest["format"], manifest_of(path), manifest=manifest, **counts)


def _check_selection(export: Export, selection: Selection) -> None:
    selected = {name for name, value in asdict(selection).items() if value is not None}
    if "ids" in selected and len(selected) > 1:
        raise PreflabError("a selection by ids and by something else", "ids, or conditions")
    wrong = sorted(selected - ALLOWED[export.of])
    if wrong:
        raise PreflabError(
            f"a selection by {', '.join(wrong)} for {export.name}",
            f"{export.of}s are selected by {', '.join(sorted(ALLOWED[export.of]))}",
        )


def _select_records(workspace: Workspace, export: Export, selection: Selection) -> list[Any]:
    """The selected records of the kind that the format exports, sorted by id."""
    ids, source = selection.ids, selection.source
    records: list[Any]
    if export.of == "prompt":
        records = [p for p in workspace.prompts(ids) if p.source.startswith(source or "")]
    elif export.of == "completion":
        model = export.model or selection.model
        records = workspace.completions(ids, prompt_ids=selection.prompt_ids, model=model)
    elif export.of == "judgment":
        campaign_id = _campaign_id(workspace, selection)
        records = workspace.judgments(ids, campaign_id=campaign_id, all_revisions=not export.latest)
    else:
        records = workspace.preferences(ids, prompt_ids=selection.prompt_ids, source=source)
        records = _of_campaign(workspace, records, _campaign_id(workspace, selection))
    return sorted(records, key=lambda record: record.id)


def newest(preferences: Sequence[Preference]) -> list[Preference]:
    """The preferences without superseded ones: those whose judgments are a proper subset of another preference's.

    Only preferences over the same completions are compared.
    """
    groups: dict[tuple[str, ...], list[Preference]] = defaultdict(list)
    for preference in preferences:
        groups[preference.completion_ids].append(preference)
    return [
        preference
        for preference in preferences
        if not any(
            preference.judgment_ids and set(preference.judgment_ids) < set(other.judgment_ids)
            for other in groups[preference.completion_ids]
        )
    ]


def _campaign_id(workspace: Workspace, selection: Selection) -> str | None:
    if selection.campaign is None:
        return None
    campaigns = workspace.campaigns()
    matching = [c.id for c in campaigns if selection.campaign in (c.id, c.name)]
    if len(matching) != 1:
        near = nearest(selection.campaign, [c.name for c in campaigns])
        raise PreflabError(
            f"{len(matching)} campaigns are called {selection.campaign!r}",
            "the name or the id of one campaign" + (f"; near it: {near}" if near else ""),
        )
    return matching[0]


def _of_campaign(workspace: Workspace, preferences: list[Any], campaign_id: str | None) -> list[Any]:
    if campaign_id is None:
        return preferences
    inside = {judgment.id for judgment in workspace.judgments(campaign_id=campaign_id, all_revisions=True)}
    return [preference for preference in preferences if inside & set(preference.judgment_ids)]


def _gather_material(workspace: Workspace, export: Export, records: list[Any], settings: Settings) -> Material:
    """The records that the selected ones refer to: prompts, completions, labelers, campaigns, judgments."""
    prompt_ids = sorted({record.id if export.of == "prompt" else record.prompt_id for record in records})
    behind = judgments_behind(workspace, export, records)
    completion_ids = sorted({c for record in (*records, *behind) for c in getattr(record, "completion_ids", ())})
    judged = export.of == "judgment" or bool(behind)
    return Material(
        prompts={p.id: p for p in workspace.prompts(prompt_ids)},
        completions={c.id: c for c in workspace.completions(completion_ids)},
        labelers={x.id: x for x in workspace.labelers()} if judged else {},
        campaigns={c.id: c for c in workspace.campaigns()} if judged else {},
        judgments={judgment.id: judgment for judgment in behind},
        settings=settings,
        made_of=Counter({f"{export.of}s": len(records)}),
    )


def judgments_behind(workspace: Workspace, export: Export, records: Sequence[Any]) -> list[Judgment]:
    """The parent judgments of preferences if the format writes them, else []."""
    ids = sorted({i for record in records for i in record.judgment_ids}) if export.judgments else []
    return workspace.judgments(ids, all_revisions=True) if ids else []
