"""Values that no database holds are named by their field, and everything that JSON has is let through."""

from __future__ import annotations

import math
from typing import Any

import pytest
from pydantic import ValidationError

from preflab.labelling.campaign_rows import checked_options, stored_options
from preflab.labelling.errors import Invalid
from preflab.labelling.options import CampaignOptions
from preflab.settings.base import Settings
from preflab.settings.feedback import MOST_LABELS, JudgeSettings, PanelSettings
from preflab.settings.recipe import STAGE_SETTINGS, DeviceSettings, RoundsSettings
from preflab.storable import LARGEST, MAX_DEPTH, unstorable


def nested(levels: int) -> Any:
    """Lists in lists; `nested(1)` is one empty list."""
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "where", "found"),
    [
        ({"a": {"b": ["x", "\ud83d"]}}, "a.b[1]", "half a character"),
        ({"note": "a\0b"}, "note", "NUL"),
        ({"n": [1, math.nan]}, "n[1]", "the number nan"),
        ({"n": -math.inf}, "n", "the number -inf"),
        ({"n": 2**63}, "n", "beyond 64 bits"),
        ({"n": -(2**63)}, "n", "beyond 64 bits"),
        ({"draft": nested(MAX_DEPTH)}, "draft[0][0]", "nested too deeply"),
        ({"a": {"\udc00": 1}}, "a", "half a character"),
    ],
)
def test_unstorable_names_the_field(value: Any, where: str, found: str) -> None:
    wrong = unstorable(value)
    assert wrong is not None
    assert wrong.where.startswith(where)
    assert found in wrong.found
    wrong.where.encode()


@pytest.mark.parametrize(
    "value", [None, True, 0, LARGEST, -LARGEST, 1e308, "", "𝄞 à\n", [], {}, {"a": [1, {"b": None}]}, nested(MAX_DEPTH)]
)
def test_unstorable_accepts_json_values(value: Any) -> None:
    assert unstorable(value) is None


def test_unstorable_checks_wide_values_completely() -> None:
    assert unstorable([[0] * 1000] * 1000) is None
    wrong = unstorable({"rows": [{"prompt": "P"}] * 5000 + [{"prompt": "\ud800"}]})
    assert wrong is not None
    assert wrong.where == "rows[5000].prompt"


HOSTILE = {
    "2^63": 2**63, "minus one": -1, "nan": math.nan, "infinity": math.inf, "1e308": 1e308, "half": "\ud800",
    "nul": "a\0b", "deep": nested(300), "5,000 digits": 10**5000,
}  # fmt: skip


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("name", CampaignOptions.model_fields)
def test_campaign_options_refuse_unstorable_values(name: str, hostile: str) -> None:
    if (name, hostile) in {("polarity", "minus one")}:  # an option's own value
        return
    with pytest.raises(Invalid, match=name):
        checked_options({"name": "c", name: HOSTILE[hostile]})


@pytest.mark.parametrize("options", [CampaignOptions, JudgeSettings, PanelSettings, RoundsSettings, DeviceSettings])
def test_campaign_options_bound_every_number(options: type[Settings]) -> None:
    """A number without a bound overflows somewhere: a date, a sum, a column of the database, the memory."""
    for name, field in options.model_fields.items():
        if field.annotation in (int, float):
            assert any(hasattr(limit, "le") or hasattr(limit, "lt") for limit in field.metadata), name


def test_completions_per_prompt_are_bounded() -> None:
    """As many are listed before the first is written, after earlier stages have run."""
    for stage in STAGE_SETTINGS.values():
        for name, field in stage.model_fields.items():
            if "num_completions" in name.replace("tilted_", "") and not name.endswith("per_step"):
                assert any(hasattr(limit, "le") for limit in field.metadata), (stage, name)


def test_a_recipe_wants_as_many_labels_as_a_campaign_can() -> None:
    assert JudgeSettings(completions="c", overlap=MOST_LABELS).overlap == MOST_LABELS
    with pytest.raises(ValidationError, match=f"less than or equal to {MOST_LABELS}"):
        JudgeSettings(completions="c", overlap=10**15)


def test_what_an_older_version_let_in_is_the_nearest_that_is_allowed() -> None:
    stored = CampaignOptions(name="c").model_dump(mode="json") | {"lease_minutes": 4e9, "overlap": 10**12}
    found = stored_options(stored)
    assert (found.lease_minutes, found.overlap) == (7 * 24 * 60, 1000)
    with pytest.raises(Invalid, match="lease_minutes|overlap"):
        checked_options(stored)


def test_settings_of_stages_take_no_infinity() -> None:
    from preflab.settings.ppo import PpoSettings

    with pytest.raises(ValidationError, match="kl_coef: the number inf, expected a finite number"):
        PpoSettings(model="m", prompts="p", rewards=[{"model": "rm"}], kl_coef=math.inf)


def test_lists_of_a_recipe_are_still_read_as_json() -> None:
    """Strictly, a list of JSON may be a tuple and a list of Python may not."""
    from preflab.settings.ppo import PpoSettings

    written = '{"model": "m", "prompts": "p", "rewards": [{"model": "rm"}]}'
    assert len(PpoSettings.model_validate_json(written, strict=True).rewards) == 1
