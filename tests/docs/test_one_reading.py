"""A campaign is read in one way: nobody but the makers of a `Reading` puts one together, and nobody goes round it."""

from __future__ import annotations

import ast
import functools

from preflab.feedback.reading import Reading
from preflab.labelling.options import CampaignOptions
from preflab.settings.feedback import PreferencesSettings, ReadingSettings
from source_tree import imports, modules, room

MAKERS = {"preflab.labelling.reading", "preflab.stages.common.readings"}
"""Who makes a reading: of a campaign, and of a stage."""
PARTS = {
    "one_coin_em", "shrink_reliabilities", "estimate_prior", "relative_weights", "task_consensus", "all_votes",
    "known_outcomes", "vote_sums", "settle", "best_order", "copeland", "level_ratings", "mean_scores", "orient_scores",
}  # fmt: skip
"""What a reading is made of, inside `feedback/`: called from elsewhere, it would be a reading put together by hand."""
ASKED_BY_HAND = {"fail_share", "confirmed_reversed", "level_scores", "pairs_by", "order_rule"}
"""Arguments that would say how to read, one by one."""


@functools.cache
def calls(tree: ast.Module) -> list[ast.Call]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


def name_of(call: ast.Call) -> str:
    """`Reading`, `Reading.of`, `one_coin_em`: the last two words of what is called."""
    words = ast.unparse(call.func).split(".")
    return ".".join(words[-2:]) if words[-2:-1] == ["Reading"] else words[-1]


def test_a_reading_is_made_in_two_places() -> None:
    made = {
        module
        for module, tree in modules().items()
        if room(module) != "feedback"
        and "preflab.feedback.reading.Reading" in imports(tree, module)
        and any(name_of(call) in ("Reading", "Reading.of") for call in calls(tree))
    }
    assert made == MAKERS, "ask labelling.reading.campaign_reading or stages.common.readings for the reading instead"


def test_only_feedback_calls_the_parts_of_a_reading() -> None:
    wrong = [
        f"{module}, line {call.lineno}: {name_of(call)}"
        for module, tree in modules().items()
        if room(module) not in ("feedback", "ways")
        for call in calls(tree)
        if name_of(call) in PARTS
    ]
    assert not wrong, f"give `consensus_of`, `readouts`, `agreement` or `Reading.votes` the reading instead: {wrong}"


def test_readings_are_passed_whole_not_by_argument() -> None:
    wrong = [
        f"{module}, line {call.lineno}: {keyword.arg}"
        for module, tree in modules().items()
        if room(module) != "feedback" and module not in MAKERS
        for call in calls(tree)
        for keyword in call.keywords
        if keyword.arg in ASKED_BY_HAND
    ]
    assert not wrong, f"pass the reading: {wrong}"


def test_the_readings_of_recipe_campaign_and_code_have_the_same_parts() -> None:
    names = set(ReadingSettings.model_fields)
    assert names <= set(PreferencesSettings.model_fields)
    assert names <= set(CampaignOptions.model_fields)
    assert names | {"confirmed_reversed", "gold"} == set(Reading.__dataclass_fields__)
    assert Reading.of(ReadingSettings()) == Reading(), "the defaults differ"
