"""The formats that can be written, by name; `preflab export --help` lists them."""

from __future__ import annotations

from preflab.errors import PreflabError, nearest
from preflab.store.exports import archive, trainers, verdicts, votes
from preflab.store.exports import published_formats as published
from preflab.store.exports.base import Export

EXPORTS: dict[str, Export] = {
    export.name: export
    for export in (
        *trainers.EXPORTS,
        *verdicts.EXPORTS,
        *published.EXPORTS,
        *votes.EXPORTS,
        *archive.EXPORTS,
    )
}
"""Name → export format."""


def export_named(name: str) -> Export:
    """The export format of this name.

    Raises:
        PreflabError: no such format.
    """
    if name not in EXPORTS:
        near = nearest(name, list(EXPORTS))
        raise PreflabError(
            f"{name!r}: there is no such format to write",
            f"one of {', '.join(sorted(EXPORTS))}",
            f"near it: {near}" if near else "",
        )
    return EXPORTS[name]
