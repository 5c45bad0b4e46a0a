"""When an on-policy run stops, to the boundary, and the error of the criterion that it is measured by."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from preflab.policy.stopping import held_out_values, measures_held_out, stop_reason, stopped_before
from preflab.settings.ppo import StopSettings
from preflab.stages.common.on_policy import mean_and_error


def with_stop(**limits: object) -> SimpleNamespace:
    """Settings of a loop that has these limits."""
    return SimpleNamespace(stop=StopSettings.model_validate(limits))


@pytest.mark.parametrize(("held_out", "stops"), [(0.4375, False), (0.5, True), (0.5625, True)])
def test_threshold_stops_where_it_is_reached(held_out: float, stops: bool) -> None:
    settings = with_stop(criterion="a:b", threshold=0.5)
    reason = stop_reason(settings, {"kl/exact": 0.0, "score/held_out": held_out})
    assert (reason is not None) == stops
    assert stop_reason(settings, {"kl/exact": 0.0}) is None, "not measured in this step"


@pytest.mark.parametrize(("kl", "stops"), [(1.75, False), (2.0, False), (2.25, True)])
def test_max_kl_stops_where_it_is_exceeded(kl: float, stops: bool) -> None:
    assert (stop_reason(with_stop(max_kl=2.0), {"kl/exact": kl}) is not None) == stops
    assert stop_reason(with_stop(), {"kl/exact": kl, "score/held_out": 9.0}) is None, "without limits"


def test_criterion_is_measured_after_every_so_many_steps() -> None:
    settings = with_stop(criterion="a:b", every=3)
    assert [num for num in range(1, 10) if measures_held_out(settings, num)] == [3, 6, 9]
    assert not measures_held_out(with_stop(every=3), 3), "no criterion"


def test_a_stopped_run_is_known_by_its_last_step_alone() -> None:
    rows = [{"step": 0.0, "kl/exact": 3.0}, {"step": 1.0, "kl/exact": 1.0}]
    assert stopped_before(with_stop(max_kl=2.0), rows, 1) is not None
    assert stopped_before(with_stop(max_kl=2.0), rows, 2) is None
    assert stopped_before(with_stop(max_kl=2.0), [], 0) is None


def test_held_out_error_is_that_of_a_sample() -> None:
    """Scores 1, 2, 3, 6: mean 3, squares 4 + 1 + 0 + 9 = 14 over n − 1 = 3, over n = 4: √(14/12)."""
    mean, error = mean_and_error(torch.tensor([1.0, 2.0, 3.0, 6.0]))
    assert mean == 3.0
    assert error == pytest.approx(math.sqrt(14 / 12))
    # Two scores d apart: d²/2 over 1, over 2, so half of d.
    assert mean_and_error(torch.tensor([1.0, 2.5])) == pytest.approx((1.75, 0.75))


def test_one_held_out_prompt_has_no_standard_error() -> None:
    assert mean_and_error(torch.tensor([0.25])) == (0.25, None)
    assert held_out_values(0.25, None) == {"score/held_out": 0.25}
    assert held_out_values(0.25, 0.5) == {"score/held_out": 0.25, "score/held_out_error": 0.5}
