"""Ways of judging stay what they were, and nobody outside their room spells their names."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from preflab.ways.base import Way
from preflab.ways.registry import NAMES, WAYS
from preflab.web.api.shapes import ANSWER
from preflab.web.pages import static_files
from source_tree import PACKAGE, modules
from ways_described import described

GOLDEN = Path(__file__).with_name("data") / "ways.json"
"""What every way gave before it had a file of its own: see `ways_described`."""


@pytest.mark.parametrize("way", WAYS.values(), ids=NAMES)
def test_a_way_gives_what_it_always_gave(way: Way[Any]) -> None:
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))[way.name]
    now = json.loads(json.dumps(described(way)))
    assert now.keys() == golden.keys()
    for part, given in now.items():
        assert given == golden[part], f"{way.name}: {part}"


def test_the_ways_in_the_order_in_which_they_are_listed() -> None:
    assert NAMES == ("ranking", "side_by_side", "best_of", "likert", "thumbs", "score_then_rank")


def test_the_api_describes_answers_as_before() -> None:
    assert ANSWER == (
        'By the campaign\'s way of judging: {"ranks": [2, 1, "F"]}, {"choice": "first" | "second" | "equal"}, '
        '{"best": 1}, {"scores": {"helpful": [4, 2]}}, {"up": [true, false]}, {"ranks": […], "scores": '
        '{"overall": [6, 2]}}; all but rankings may add {"failed": [false, true]}. '
        "In the order of `completions` as they were sent to you."
    )


@pytest.mark.parametrize("way", WAYS.values(), ids=NAMES)
def test_every_way_has_a_template_and_a_script(way: Way[Any]) -> None:
    assert (PACKAGE / "web" / "templates" / way.template).is_file()
    assert way.script in static_files()


LAYOUTS = ("store.formats", "store.exports")
"""Layouts of files that others have published; they use some of the same words."""
COLUMN = "a column of preferences: shares of thumbs up, whatever the way of judging"
NOUN = "an order of completions, counted in prose"
SORT = "a sort of data: completions called good or bad one by one"
OTHER_MEANINGS = {
    ("store.rows", "thumbs"): COLUMN,
    ("store.objects", "thumbs"): COLUMN,
    ("store.parquet_tables", "thumbs"): COLUMN,
    ("records", "thumbs"): COLUMN,
    ("stages.evaluate", "best_of"): "the curve of best-of-n sampling",
    ("stages.best_of_n", "best_of"): "a figure of best-of-n sampling",
    ("report.feedback", "ranking"): NOUN,
    ("rewards.train", "ranking"): NOUN,
    ("stages.preferences", "ranking"): NOUN,
    ("starter.data_look", "thumbs"): SORT,
    ("starter.first_recipe", "thumbs"): SORT,
    ("starter.kind_of_learning", "thumbs"): SORT,
    ("starter.learnable", "thumbs"): SORT,
    ("starter.sentences", "thumbs"): SORT,
}
"""Where one of the words means something else."""


def spelled(tree: ast.Module) -> set[str]:
    """The names of ways among a module's literals; docstrings are prose."""
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in WAYS
    }


def test_no_module_outside_the_room_spells_the_name_of_a_way() -> None:
    found = {
        (module.removeprefix("preflab."), name)
        for module, tree in modules().items()
        if not module.startswith(("preflab.ways", *(f"preflab.{layout}" for layout in LAYOUTS)))
        for name in spelled(tree)
    }
    assert not (found - OTHER_MEANINGS.keys()), "ask preflab.ways.registry instead of naming a way"
    assert not (OTHER_MEANINGS.keys() - found), "not there any more: take it from the list"


def test_no_page_nor_shared_script_spells_the_name_of_a_way() -> None:
    web = PACKAGE / "web"
    shared = [file for file in (web / "static").iterdir() if file.suffix in (".js", ".css") and "way-" not in file.name]
    pages = [file for file in (web / "templates").rglob("*.j2") if file.parent.name != "ways"]
    assert len(shared) > 10
    assert len(pages) > 20
    wrong = [
        f"{file.name}: {name}"
        for file in [*shared, *pages]
        for name in NAMES
        if any(f"{quote}{name}{quote}" in file.read_text(encoding="utf-8") for quote in "\"'`")
    ]
    assert not wrong
