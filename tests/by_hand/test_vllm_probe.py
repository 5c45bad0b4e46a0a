"""The probe's verdicts on readings made by hand: rounding passes, old, empty and twice scaled weights do not."""

from __future__ import annotations

import pytest

from preflab.errors import PreflabError
from preflab.sampling.vllm_probe import Probe, Reading

BASE = (-2.0, -3.0, -4.0, -1.0)
ROUNDED = (-2.02, -2.98, -4.02, -0.98)  # 0.02 off: what 16 bits do
LEARNED = (-1.8, -3.2, -3.6, -1.4)  # trainer, 0.2, 0.2, 0.4 and 0.4 away from BASE


def probe(server: tuple[float, ...] = BASE) -> Probe:
    return Probe(Reading.of(server, BASE))


def test_rounding_is_measured_at_the_start() -> None:
    assert probe().allowed == pytest.approx(1e-3)
    assert probe(ROUNDED).rounding == pytest.approx(0.02)
    assert probe(ROUNDED).allowed == pytest.approx(0.06)


def test_weights_up_to_rounding_pass() -> None:
    one = probe(ROUNDED)
    one.check(1, Reading.of((-1.78, -3.22, -3.62, -1.38), LEARNED))
    one.check(2, Reading.of((-1.68, -3.32, -3.52, -1.48), (-1.7, -3.3, -3.5, -1.5)))


def test_zero_adapters_at_the_start_pass() -> None:
    probe(ROUNDED).check(0, Reading.of(ROUNDED, BASE))


def test_empty_weights_are_named_with_both_numbers() -> None:
    """Means −2.5 and −2.5; differences 0.2, 0.2, 0.4 and 0.4: 0.3 on average."""
    with pytest.raises(PreflabError) as caught:
        probe().check(1, Reading.of(BASE, LEARNED))
    assert caught.value.found == (
        "version 1: the server gives the probe's tokens −2.5 on average, and −2.5 by the trainer, a mean difference of "
        "0.3 nats per token: it holds the weights of the start: the update was ignored (stale) or is empty (zero)"
    )
    assert "0.001" in caught.value.expected
    assert "run the same command again" in caught.value.do


def test_weights_of_the_last_version_are_named() -> None:
    one = probe()
    one.check(1, Reading.of(LEARNED, LEARNED))
    with pytest.raises(PreflabError, match=r"version 2.*the weights of the last version \(stale\)"):
        one.check(2, Reading.of(LEARNED, (-1.5, -3.5, -3.0, -2.0)))


def test_scale_applied_twice_is_named() -> None:
    """The server's shift is twice the trainer's: BASE + 2 · (LEARNED − BASE)."""
    with pytest.raises(PreflabError, match="about 2 times too large"):
        probe().check(1, Reading.of((-1.6, -3.4, -3.2, -1.8), LEARNED))


def test_small_updates_that_never_arrive_add_up() -> None:
    """Each moves the trainer by 0.002, less than a rounding of 0.02 shows; with the third it is 0.006 > 0.02 / 4."""
    one = probe(ROUNDED)
    for version in (1, 2):
        one.check(version, Reading.of(ROUNDED, tuple(value + 0.002 * version for value in BASE)))
    with pytest.raises(PreflabError, match="ignored"):
        one.check(3, Reading.of(ROUNDED, tuple(value + 0.006 for value in BASE)))


def test_another_model_is_refused_at_the_start() -> None:
    with pytest.raises(PreflabError, match="before any training"):
        probe((-3.0, -2.0, -5.0, -2.0))


def test_log_probabilities_that_are_not_numbers_are_refused() -> None:
    with pytest.raises(PreflabError):
        probe().check(1, Reading.of((float("nan"), -3.0, -4.0, -1.0), BASE))
