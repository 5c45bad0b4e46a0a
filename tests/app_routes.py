"""Every address of the app, so that a new page is tested without a new test."""

from __future__ import annotations

from dataclasses import dataclass

from preflab.store.workspace import Workspace
from preflab.web.app import create_app
from preflab.web.settings import WebSettings


@dataclass(frozen=True)
class Address:
    """One route of the app."""

    path: str
    methods: frozenset[str]
    tags: tuple[str, ...]


def routes(ws: Workspace) -> list[Address]:
    """Every address of the app, also of routers that newer versions of FastAPI keep folded."""
    found = []
    for route in create_app(ws, WebSettings()).routes:
        inner = getattr(route, "effective_route_contexts", None)
        for each in inner() if inner else [route]:
            found.append(Address(each.path, frozenset(each.methods), tuple(getattr(each, "tags", None) or ())))
    assert len(found) > 50
    return found


def filled(path: str, known: dict[str, list[str]]) -> list[str]:
    """An address with every combination of known ids in it."""
    paths = [path]
    while any("{" in each for each in paths):
        first = paths[0]
        name = first[first.index("{") + 1 : first.index("}")]
        values = known.get(name.partition(":")[0], ["x"])
        paths = [each.replace("{" + name + "}", value) for each in paths for value in values]
    return paths
