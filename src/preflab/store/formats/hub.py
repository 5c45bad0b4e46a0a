"""Reads the rows of a data set on the Hub, `owner/name` or `owner/name:config`; `datasets` fetches it if allowed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

from preflab.errors import PreflabError
from preflab.store.formats.folders import choose_split
from preflab.store.formats.json_rows import Numbered, plain_row


def is_hub_id(path: PurePath) -> bool:
    """Whether a path that does not exist may be a data set's id: two words, no file ending, no folder `owner` here."""
    from preflab.settings.recipe import HUB, HUB_ID

    named = path.as_posix().startswith(HUB)
    return HUB_ID.fullmatch(hub_id(path)) is not None and (named or not Path(path).parent.exists())


def hub_id(path: PurePath) -> str:
    """The id in a path, without the prefix that marks ids."""
    from preflab.settings.recipe import HUB

    return path.as_posix().removeprefix(HUB)


def hub_rows(path: PurePath, split: str | None) -> Iterator[Numbered]:
    """The rows of a split.

    Raises:
        PreflabError: the data set cannot be fetched, it has no such split, or several splits and none is named.
    """
    fetched = _fetch(path)
    name = choose_split(hub_id(path), list(fetched), split)
    for line, row in enumerate(fetched[name], 1):
        yield Numbered(line, plain_row(row))


def _fetch(path: PurePath) -> Any:
    """The data set's splits, from the Hub or from the local cache."""
    import datasets
    from datasets.exceptions import DatasetsError

    owner_and_name, _, config = hub_id(path).partition(":")
    try:
        return datasets.load_dataset(owner_and_name, config or None)
    except (DatasetsError, OSError, ValueError, RuntimeError, ImportError, KeyError) as error:
        reason = " ".join(str(error).strip().splitlines()[:2]) or type(error).__name__
        raise PreflabError(
            f"{hub_id(path)}: no such path, and it cannot be fetched as a data set of the Hub ({reason})",
            "a file, a folder, or a data set of the Hub (its `data/*.parquet`) where the network is allowed",
            f"on a machine with a network, run `hf download {owner_and_name} --repo-type dataset --local-dir "
            f"{owner_and_name}`, and copy that folder to {Path(owner_and_name).absolute()}",
        ) from error
