"""Replace the names of stages in a stage's settings, for rounds and for seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from preflab.errors import PreflabError
from preflab.settings.base import Settings

S = TypeVar("S", bound=Settings)
Rename = Callable[[str], Sequence[str]]
"""A name → the names that replace it: one, or several where a list of names is read."""
NOT_STAGES = ("data", "labelers", "function", "file")


def rename_stages(settings: S, rename: Rename, where: str = "") -> S:
    """The settings with every name of a stage replaced.

    Args:
        settings: of a stage, or of a part of one.
        rename: gives the new names. In a list all of them take the place of the old one.
        where: the place of the settings, for errors.

    Raises:
        PreflabError: several names replace one that stands alone.
    """
    update: dict[str, Any] = {}
    for name, field in type(settings).model_fields.items():
        extra = field.json_schema_extra
        refers = extra.get("refers") if isinstance(extra, dict) else None
        here = rename if refers and refers not in NOT_STAGES else None
        update[name] = _renamed(getattr(settings, name), here, rename, f"{where}.{name}")
    return settings.model_copy(update=update)


def _renamed(value: Any, here: Rename | None, below: Rename, where: str) -> Any:
    """A value with `here` applied to its strings, and `below` to the stage names of nested settings."""
    if isinstance(value, Settings):
        return rename_stages(value, below, where)
    if isinstance(value, Mapping):
        return {key: _renamed(item, here, below, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(_renamed_items(value, here, below, where))
    if here is None or not isinstance(value, str):
        return value
    names = here(value)
    if len(names) > 1:
        raise PreflabError(
            f"{where}: `{value}` stands for {len(names)} stages, one per seed", "the name of one stage",
            f"name one of {', '.join(names)}",
        )  # fmt: skip
    return names[0]


def _renamed_items(values: tuple[Any, ...], here: Rename | None, below: Rename, where: str) -> Iterator[Any]:
    given: set[str] = set()
    for index, item in enumerate(values):
        if here is None or not isinstance(item, str):
            yield _renamed(item, here, below, f"{where}.{index}")
            continue
        names = here(item)
        yield from (name for name in names if len(names) == 1 or name not in given)
        given.update(names)
