"""How the report names models that are given by a path."""

from __future__ import annotations

from preflab.report.names import short_names, shorten_names


def test_paths_become_their_last_part_unless_two_become_alike() -> None:
    assert short_names(["../models/stories260K/", "ppo"]) == {"../models/stories260K/": "stories260K"}
    assert short_names(["a/model", "b/model", "c/other"]) == {"c/other": "other"}


def test_names_are_replaced_in_keys_values_and_sentences() -> None:
    content = {"models": [{"name": "x/y"}], "x/y": 1, "notes": ["x/y: no KL"], "value": 0.5}
    expected = {"models": [{"name": "y"}], "y": 1, "notes": ["y: no KL"], "value": 0.5}
    assert shorten_names(content, {"x/y": "y"}) == expected


def test_a_seed_keeps_the_name_of_its_stage() -> None:
    assert short_names(["models/base", "ppo/seed-0", "ppo/seed-1"]) == {"models/base": "base"}
