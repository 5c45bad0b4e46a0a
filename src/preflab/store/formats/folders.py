"""Finds the files with rows in a folder, by split: a folder from `save_to_disk`, or files as on the Hub.

The split of a file follows from its name, as on the Hub: `train-00000-of-00002.parquet` and `train.jsonl` belong to
`train`. A folder is a prefix of the split (`main/train`), except `data/`. A file that names no split is a split of its
own name.
"""

from __future__ import annotations

import re
from pathlib import Path

from preflab.errors import PreflabError, nearest
from preflab.files import check_regular
from preflab.store.formats.file_kinds import SUFFIXES, suffix_of

SHARD = re.compile(r"(?P<split>.+?)[-_.](?:part[-_.]?)?\d{3,}(?:-of-\d{3,}(?:-[0-9a-f]{16})?)?$")
"""`train-00000-of-00002`, the same with a hash at its end, `train-00001`, `train_part_003`."""
LEFT_OUT = ("data",)
"""Folders that are not part of a split's name."""
NOT_ROWS = {"dataset_infos.json", "dataset_info.json", "dataset_dict.json", "state.json", "config.json"}
SAVED, SAVED_SPLITS = "state.json", "dataset_dict.json"
"""Files that `Dataset.save_to_disk` and `DatasetDict.save_to_disk` write beside the rows."""


def choose_files(folder: Path, split: str | None) -> list[Path]:
    """The files of the split, in order.

    Raises:
        PreflabError: a folder without rows, no such split, or several splits and none named.
    """
    splits = splits_of(folder)
    if not splits:
        raise PreflabError(
            f"{folder}: a folder without rows",
            f"files ending in {', '.join(SUFFIXES)}",
            "name a file, or such a folder",
        )
    name = choose_split(str(folder), list(splits), split)
    return _check_same_kind(folder, name, splits[name])


def choose_split(place: str, names: list[str], split: str | None) -> str:
    """The named split, or the only one.

    Raises:
        PreflabError: several splits and none named, or no such split.
    """
    if split is None and len(names) == 1:
        return names[0]
    if split is None:
        raise PreflabError(
            f"{place}: several splits ({', '.join(names)})",
            "one split",
            f"name it: --split {names[0]}",
        )
    if split not in names:
        near = nearest(split, names) or ", ".join(name for name in names if split in name.split("/"))
        raise PreflabError(
            f"{place}: no split {split!r}", f"one of {', '.join(names)}", f"near it: {near}" if near else ""
        )
    return split


def splits_of(folder: Path) -> dict[str, list[Path]]:
    """Split → its files, in order."""
    if (folder / SAVED_SPLITS).is_file():
        names = sorted(each.name for each in folder.iterdir() if (each / SAVED).is_file())
        return {name: _saved_files(folder / name) for name in _train_first(names)}
    if (folder / SAVED).is_file():
        return {folder.name or "rows": _saved_files(folder)}
    splits: dict[str, list[Path]] = {}
    for file in sorted(folder.rglob("*")):
        inside = file.relative_to(folder)
        if not _has_rows(file) or any(part.startswith(".") for part in inside.parts):
            continue
        check_regular(file)  # a pipe among them would be left out silently
        if file.is_file():
            splits.setdefault(_split_of(inside), []).append(file)
    return {name: splits[name] for name in _train_first(list(splits))}


def _saved_files(folder: Path) -> list[Path]:
    """The files of a data set from `save_to_disk`, as its state file lists them."""
    import json

    try:
        state = json.loads((folder / SAVED).read_text(encoding="utf-8"))
        files = [folder / each["filename"] for each in state["_data_files"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PreflabError(
            f"{folder / SAVED}: {error}", "a folder that `Dataset.save_to_disk` wrote", "write or fetch it again"
        ) from error
    return files


def _has_rows(file: Path) -> bool:
    return suffix_of(file) in SUFFIXES and file.name not in NOT_ROWS and not file.name.endswith(".manifest.json")


def _split_of(file: Path) -> str:
    stem = file.name[: len(file.name.removesuffix(".gz")) - len(suffix_of(file))]
    shard = SHARD.fullmatch(stem)
    name = shard["split"] if shard else stem
    folders = [part for part in file.parts[:-1] if part not in LEFT_OUT]
    if folders and (name.isdecimal() or name in ("data", "part", folders[-1])):
        return "/".join(folders)  # train/0000.parquet (the Hub's conversion), train/data-00000-of-00001.arrow
    return "/".join([*folders, name])


def _train_first(names: list[str]) -> list[str]:
    """The names sorted, with `train` first."""
    return sorted(names, key=lambda name: (not name.rpartition("/")[2].startswith("train"), name))


def _check_same_kind(folder: Path, name: str, files: list[Path]) -> list[Path]:
    suffixes = sorted({suffix_of(file) for file in files})
    if len(suffixes) > 1:
        raise PreflabError(
            f"{folder}: the split {name} has files of the kinds {' and '.join(suffixes)}",
            "one kind of file for a split",
            f"name the file: {files[0]}",
        )
    return files
