"""A snapshot is the same bytes for the same state, reads back equal, and is refused once a file was changed."""

from __future__ import annotations

import errno
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from preflab.errors import PreflabError
from preflab.records import Completion, Message, PairOutcome, Preference, Prompt, Span
from preflab.store.snapshots import FILES, read_snapshot, write_snapshot

PROMPTS = [
    Prompt.make(messages=(Message("user", "Päckchen?"),), columns={"b": 1, "a": [0.1, None]}, source="x, line 1"),
    Prompt.make(text="Where?"),
]
COMPLETIONS = [
    Completion.make(p.id, f"{word} {index}", "model-a", seed=2**63 + index, index=index, logps=(-0.5, -1e-9), **extra)
    for p in PROMPTS
    for index, word in enumerate(["yes", "no", ""])
    for extra in [{"token_ids": (1, 2), "finish_reason": "length"}]
]
SPANS = Completion.make(
    PROMPTS[1].id, "", "model-b", spans=(Span("a"), Span("b", by_policy=False, role="tool")), finish_reason="imported"
)
PREFERENCES = [
    Preference.make(
        p.id,
        tuple(c.id for c in COMPLETIONS if c.prompt_id == p.id),
        (1, 2, None),
        pairs=(PairOutcome(0, 1, 2.5, 0.1, 0.0, 1 / 3),),
        scores={"kind": (5.0, None, 0.1)},
        thumbs=(1.0, None, 0.5),
    )
    for p in PROMPTS
]
QUERY = {"campaign": "campaign-1", "consensus": "one_coin_em"}


def write(folder: Path, *, backwards: bool = False) -> dict[str, Any]:
    step = -1 if backwards else 1
    return write_snapshot(folder, PREFERENCES[::step], PROMPTS[::step], [*COMPLETIONS, SPANS][::step], query=QUERY)


def test_snapshot_reads_back_equal(tmp_path: Path) -> None:
    manifest = write(tmp_path / "s")
    snapshot = read_snapshot(tmp_path / "s")
    assert snapshot.manifest == manifest
    assert sorted(snapshot.preferences, key=lambda p: p.id) == sorted(PREFERENCES, key=lambda p: p.id)
    assert snapshot.prompts == {p.id: p for p in PROMPTS}
    assert snapshot.completions == {c.id: c for c in [*COMPLETIONS, SPANS]}
    assert manifest["counts"] == {"prompts": 2, "completions": 7, "preferences": 2, "pairs": 2}
    assert manifest["query"] == QUERY


def test_snapshot_of_equal_records_has_equal_bytes(tmp_path: Path) -> None:
    write(tmp_path / "s")
    write(tmp_path / "t", backwards=True)
    for name in [*FILES, "manifest.json"]:
        assert (tmp_path / "s" / name).read_bytes() == (tmp_path / "t" / name).read_bytes(), name


def test_snapshot_content_hash_depends_on_weights(tmp_path: Path) -> None:
    first = write(tmp_path / "s")["content_hash"]
    pair = replace(PREFERENCES[0].pairs[0], weight=0.25)
    changed = [replace(PREFERENCES[0], pairs=(pair,)), PREFERENCES[1]]
    assert write_snapshot(tmp_path / "t", changed, PROMPTS, COMPLETIONS, query=QUERY)["content_hash"] != first


@pytest.mark.parametrize("name", FILES)
def test_snapshot_with_a_changed_file_is_refused(tmp_path: Path, name: str) -> None:
    write(tmp_path / "s")
    data = bytearray((tmp_path / "s" / name).read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "s" / name).write_bytes(data)
    with pytest.raises(PreflabError, match=f"{name}: the file was changed"):
        read_snapshot(tmp_path / "s")
    (tmp_path / "s" / name).unlink()
    with pytest.raises(PreflabError, match=f"{name}: the file is missing"):
        read_snapshot(tmp_path / "s")


def test_snapshot_with_file_and_manifest_changed_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "s")
    write_snapshot(tmp_path / "t", PREFERENCES[:1], PROMPTS, COMPLETIONS, query=QUERY)
    shutil.copy(tmp_path / "t" / "preferences.parquet", tmp_path / "s")
    manifest = json.loads((tmp_path / "s" / "manifest.json").read_text())
    other = json.loads((tmp_path / "t" / "manifest.json").read_text())
    manifest["files"] = other["files"] | {name: manifest["files"][name] for name in FILES[:2]}
    (tmp_path / "s" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(PreflabError, match="content hash"):
        read_snapshot(tmp_path / "s")


@pytest.mark.parametrize("content", ["{", "[]", '{"snapshot_version": 99}', '{"no": 1}'])
def test_snapshot_with_an_invalid_manifest_is_refused(tmp_path: Path, content: str) -> None:
    write(tmp_path / "s")
    (tmp_path / "s" / "manifest.json").write_text(content)
    with pytest.raises(PreflabError):
        read_snapshot(tmp_path / "s")


def test_snapshot_of_a_preference_without_its_records_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PreflabError, match="names the completion"):
        write_snapshot(tmp_path / "s", PREFERENCES, PROMPTS, COMPLETIONS[:2], query={})
    with pytest.raises(PreflabError, match="names the prompt"):
        write_snapshot(tmp_path / "s", PREFERENCES, PROMPTS[:1], COMPLETIONS, query={})
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(PreflabError, match="no manifest"):
        read_snapshot(tmp_path)


def no_space(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("where", ["os.replace", "os.fsync", "pyarrow.parquet.write_table"])
def test_snapshot_on_a_full_disk_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    manifest = write(tmp_path / "s")
    with monkeypatch.context() as patch:
        patch.setattr(where, no_space)
        with pytest.raises(PreflabError, match="No space left"):
            write_snapshot(tmp_path / "s", PREFERENCES[:1], PROMPTS, COMPLETIONS, query={})
        with pytest.raises(PreflabError, match="No space left"):
            write(tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["s"]
    assert read_snapshot(tmp_path / "s").manifest == manifest


def test_snapshot_whose_rename_fails_restores_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = write(tmp_path / "s")
    real, calls = os.replace, []

    def second_fails(source: Path, target: Path) -> None:
        calls.append(target)
        no_space() if len(calls) == 2 else real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", second_fails)
        with pytest.raises(PreflabError, match="No space left"):
            write_snapshot(tmp_path / "s", PREFERENCES[:1], PROMPTS, COMPLETIONS, query={})
    assert [path.name for path in tmp_path.iterdir()] == ["s"]
    assert read_snapshot(tmp_path / "s").manifest == manifest


def test_snapshot_is_readable_by_a_data_frame_library(tmp_path: Path) -> None:
    write(tmp_path / "s")
    table = pq.read_table(tmp_path / "s" / "preferences.parquet")
    assert table.column("ranks").to_pylist() == [[1, 2, None]] * 2
