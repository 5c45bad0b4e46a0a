"""Frozen snapshots of the preferences that a training stage reads: Parquet files and a manifest.

The same records give the same bytes. Labels that arrive later do not change a snapshot, so a run can be repeated. A
snapshot holds all that reward-model training needs without the database: prompts, completions with spans and tokens,
ranks, pairs, weights and scores.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from preflab.errors import PreflabError
from preflab.files import file_hash, new_folder
from preflab.records import Completion, Preference, Prompt
from preflab.store import parquet_tables as tables
from preflab.store.database import to_json

SNAPSHOT_VERSION = 1
MANIFEST = "manifest.json"
FILES = ("prompts.parquet", "completions.parquet", "preferences.parquet")
Manifest = dict[str, Any]


@dataclass(frozen=True)
class Snapshot:
    """A snapshot in memory: preferences sorted by id, id → prompt, id → completion, and the manifest."""

    preferences: tuple[Preference, ...]
    prompts: Mapping[str, Prompt]
    completions: Mapping[str, Completion]
    manifest: Manifest


def write_snapshot(
    folder: Path | str,
    preferences: Iterable[Preference],
    prompts: Iterable[Prompt],
    completions: Iterable[Completion],
    *,
    query: Mapping[str, Any],
) -> Manifest:
    """Write a snapshot of preferences with their prompts and completions, whole or not at all.

    Args:
        folder: of the snapshot; an earlier snapshot there is replaced.
        preferences: in any order; the files are sorted by id.
        prompts: at least those of the preferences and completions.
        completions: at least those of the preferences.
        query: the selection that gave the preferences, stored in the manifest (JSON values).

    Returns:
        the manifest: query, counts, content_hash, files (name → SHA-256), snapshot_version.

    Raises:
        PreflabError: a prompt or completion of a preference is missing, or the disk is full.
    """
    records: dict[str, list[Any]] = {
        "prompts": sorted({p.id: p for p in prompts}.values(), key=lambda p: p.id),
        "completions": sorted({c.id: c for c in completions}.values(), key=lambda c: c.id),
        "preferences": sorted({p.id: p for p in preferences}.values(), key=lambda p: p.id),
    }
    _refuse_orphans(records)
    rows = {
        "prompts": tables.prompt_rows(records["prompts"]),
        "completions": tables.completion_rows(records["completions"]),
        "preferences": tables.preference_rows(records["preferences"]),
    }
    with new_folder(Path(folder)) as partial:
        for name, schema in tables.SCHEMAS.items():
            table = pa.Table.from_pylist(rows[name], schema=schema)
            pq.write_table(table, partial / f"{name}.parquet", compression="zstd")
        manifest = {
            "snapshot_version": SNAPSHOT_VERSION,
            "content_hash": _content_hash(rows),
            "counts": {name: len(each) for name, each in records.items()}
            | {"pairs": sum(len(p.chosen_rejected()) for p in records["preferences"])},
            "query": dict(query),
            "files": {name: file_hash(partial / name) for name in FILES},
        }
        text = json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False)
        (partial / MANIFEST).write_text(text + "\n", encoding="utf-8")
    return manifest


def read_snapshot(folder: Path | str) -> Snapshot:
    """Read a snapshot and check its files against the manifest.

    Raises:
        PreflabError: no snapshot there, a file is missing or changed, or the snapshot is of another version.
    """
    folder = Path(folder)
    manifest = _read_manifest(folder)
    for name in FILES:
        _check_file(folder / name, manifest["files"].get(name))
    rows = {name.partition(".")[0]: pq.read_table(folder / name).to_pylist() for name in FILES}
    if _content_hash(rows) != manifest["content_hash"]:
        raise PreflabError(
            f"{folder / MANIFEST}: the content hash does not match the rows",
            str(manifest["content_hash"]),
            "take the snapshot again",
        )
    return Snapshot(
        preferences=tuple(tables.preference_of(row) for row in rows["preferences"]),
        prompts={row["id"]: tables.prompt_of(row) for row in rows["prompts"]},
        completions={row["id"]: tables.completion_of(row) for row in rows["completions"]},
        manifest=manifest,
    )


def _content_hash(rows: Mapping[str, list[tables.Row]]) -> str:
    """The hash of the rows as canonical JSON, which does not depend on Parquet's encoding."""
    digest = hashlib.sha256()
    for name in sorted(rows):
        digest.update(f"{name}\n".encode())
        for row in rows[name]:
            digest.update(f"{to_json(row, sort_keys=True)}\n".encode())
    return f"snapshot-{digest.hexdigest()[:24]}"


def _refuse_orphans(records: Mapping[str, list[Any]]) -> None:
    prompts = {p.id for p in records["prompts"]}
    completions = {c.id for c in records["completions"]}
    for record in [*records["preferences"], *records["completions"]]:
        if record.prompt_id not in prompts:
            raise PreflabError(f"{record.id} names the prompt {record.prompt_id}, which was not given to the snapshot")
    for preference in records["preferences"]:
        missing = [c for c in preference.completion_ids if c not in completions]
        if missing:
            raise PreflabError(
                f"{preference.id} names the completion {missing[0]}, which was not given to the snapshot"
            )


def _read_manifest(folder: Path) -> Manifest:
    try:
        manifest: Manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        version = manifest["snapshot_version"]
    except FileNotFoundError:
        raise PreflabError(f"{folder}: no {MANIFEST} in it", "a snapshot", "run the stage that makes it") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PreflabError(f"{folder / MANIFEST}: {error!r}", "a snapshot's manifest", "take it again") from None
    if version != SNAPSHOT_VERSION:
        raise PreflabError(f"{folder}: a snapshot of version {version}", f"version {SNAPSHOT_VERSION}", "take it again")
    return manifest


def _check_file(path: Path, expected: str | None) -> None:
    if not path.is_file():
        raise PreflabError(f"{path}: the file is missing", "a whole snapshot", "take the snapshot again")
    if file_hash(path) != expected:
        raise PreflabError(
            f"{path}: the file was changed after the snapshot was taken",
            f"SHA-256 {expected}",
            "take the snapshot again, or put the file back",
        )
