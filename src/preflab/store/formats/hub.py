"""Rows of a data set on the Hub, `owner/name` or `owner/name:config`, which `datasets` fetches where it may."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

from preflab.errors import PreflabError
from preflab.store.formats.folders import chosen_split
from preflab.store.formats.json_rows import Numbered, plain_row


def is_hub_id(path: PurePath) -> bool:
    """Whether a path that leads nowhere may be a data set's id: two words, no ending of a file, no such folder here."""
    from preflab.settings.recipe import HUB, HUB_ID

    named = path.as_posix().startswith(HUB)
    return HUB_ID.fullmatch(hub_id(path)) is not None and (named or not Path(path).parent.exists())


def hub_id(path: PurePath) -> str:
    """The id in a path, without what says that it is one."""
    from preflab.settings.recipe import HUB

    return path.as_posix().removeprefix(HUB)


def hub_rows(path: PurePath, split: str | None) -> Iterator[Numbered]:
    """The rows of a split.

    Raises:
        PreflabError: it cannot be fetched, or a split that is not there or must be named.
    """
    fetched = _fetched(path)
    name = chosen_split(hub_id(path), list(fetched), split)
    for line, row in enumerate(fetched[name], 1):
        yield Numbered(line, plain_row(row))


def _fetched(path: PurePath) -> Any:
    """The data set's splits, from the Hub or from what was fetched before."""
    import datasets
    from datasets.exceptions import DatasetsError

    owner_and_name, _, config = hub_id(path).partition(":")
    try:
        return datasets.load_dataset(owner_and_name, config or None)
    except (DatasetsError, OSError, ValueError, RuntimeError, ImportError, KeyError) as error:
        reason = " ".join(str(error).strip().splitlines()[:2]) or type(error).__name__
        raise PreflabError(
            f"{hub_id(path)}: nothing lies at this path, and as a data set of the Hub it cannot be fetched ({reason})",
            "a file, a folder, or a data set of the Hub (its `data/*.parquet`) where the network is allowed",
            f"where there is a network, run `hf download {owner_and_name} --repo-type dataset --local-dir "
            f"{owner_and_name}`, and lay that folder here, as {Path(owner_and_name).absolute()}",
        ) from error
