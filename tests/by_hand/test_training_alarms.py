"""When an alarm fires and when it does not, on courses of metrics written down here; what the metrics file refuses."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from preflab.errors import PreflabError
from preflab.files import read_jsonl
from preflab.training.alarms import Alarms, Rounding
from preflab.training.metrics import MetricsLog
from preflab.training.standstill import said_of_alarms, said_of_loss

Rows = list[dict[str, Any]]


def course(name: str, *values: float | None) -> Rows:
    """One row per step; None where the step did not log it."""
    return [{"step": step} | ({} if value is None else {name: value}) for step, value in enumerate(values)]


def fired(rows: Rows, path: Path, kl_budget: float | None = None) -> list[tuple[int, str, str]]:
    """(step, alarm, setting) of everything that fires while the rows come in one by one."""
    alarms = Alarms(path / "alarms.jsonl", kl_budget=kl_budget)
    found = [alarm for num in range(1, len(rows) + 1) for alarm in alarms.check(rows[:num])]
    return [(alarm.step, alarm.alarm, alarm.setting) for alarm in found]


def test_kl_above_its_budget_fires_once_and_only_with_a_budget(tmp_path: Path) -> None:
    rows = course("kl/exact", 0.0, 2.0, 2.01, 9.0)
    assert fired(rows, tmp_path / "a", kl_budget=2.0) == [(2, "kl above budget", "kl_coef")]
    assert fired(rows, tmp_path / "b") == []


def test_entropy_collapses_below_three_tenths_of_the_first_three_steps(tmp_path: Path) -> None:
    # The mean of 3, 2 and 1 is 2; three tenths of it are 0.6.
    assert fired(course("entropy/mean", 3, 2, 1, 0.61, 0.6), tmp_path / "a") == []
    assert fired(course("entropy/mean", 3, 2, 1, 0.59), tmp_path / "b") == [(3, "entropy collapse", "kl_coef")]


def test_entropy_is_compared_with_its_own_first_steps_after_a_critics_warm_up(tmp_path: Path) -> None:
    rows = course("entropy/mean", None, None, None, None, 3, 2, 1, 0.5)
    assert fired(rows, tmp_path) == [(7, "entropy collapse", "kl_coef")]


@pytest.mark.parametrize(("last", "fires"), [(15.0, False), (15.1, True), (5.0, False), (4.9, True)])
def test_length_drifts_beyond_one_and_a_half_times_or_below_half(last: float, fires: bool, tmp_path: Path) -> None:
    found = fired(course("length/mean", 9, 10, 11, last), tmp_path)
    assert found == ([(3, "length drift", "kl_coef or missing_eos_penalty")] if fires else [])


def test_the_length_of_episodes_is_that_of_a_turn(tmp_path: Path) -> None:
    """The policy wins after one turn instead of three: its turns are as long as before, 4 tokens."""
    rows = [
        {"step": step, "length/mean": 4.0 * turns, "reward/environment/num_turns": turns}
        for step, turns in enumerate((3.0, 3.0, 3.0, 1.0))
    ]
    assert fired(rows, tmp_path / "shorter") == []
    rows[-1]["length/mean"] = 6.1
    assert fired(rows, tmp_path / "long turns") == [(3, "length drift", "kl_coef or missing_eos_penalty")]


def test_repeats_need_a_fifth_and_twice_the_start(tmp_path: Path) -> None:
    assert fired(course("repeat/share", 0.0, 0.0, 0.0, 0.2), tmp_path / "a") == []
    assert fired(course("repeat/share", 0.15, 0.15, 0.15, 0.29), tmp_path / "b") == []
    assert fired(course("repeat/share", 0.15, 0.15, 0.15, 0.31), tmp_path / "c") == [(3, "repeated n-grams", "kl_coef")]


def both(held_out: list[float | None], reward: list[float]) -> Rows:
    """Rows with the held-out criterion at some steps (standard error 0.03) and the reward at all."""
    rows = course("score/held_out", *held_out)
    errors = [{"score/held_out_error": 0.03} if value is not None else {} for value in held_out]
    return [row | error | {"reward/mean": value} for row, error, value in zip(rows, errors, reward, strict=True)]


def test_reward_up_while_the_held_out_criterion_falls_beyond_chance(tmp_path: Path) -> None:
    # Two standard errors of the difference are 2 · √(0.03² + 0.03²) = 0.0849.
    found = fired(both([0.5, None, 0.42, None, 0.41], [1, 1, 2, 2, 3]), tmp_path / "a")
    assert [(step, alarm) for step, alarm, _ in found] == [(4, "reward up, held-out down")]
    assert fired(both([0.5, 0.42, 0.45, 0.42], [1, 2, 3, 4]), tmp_path / "b") == []
    assert fired(both([0.5, 0.4, 0.3], [3, 2, 1]), tmp_path / "c") == []
    # The best so far counts, not the first: 0.5, later 0.6, then 0.51 is 0.09 below it.
    found = fired(both([0.5, 0.6, 0.51], [1, 2, 3]), tmp_path / "d")
    assert [step for step, _, _ in found] == [2]
    # Without its error a measurement says nothing: from 0.9 there is no way to tell how far 0.5 is below it.
    unsure = [row | {"score/held_out": 0.9, "reward/mean": 0.0} for row in course("kl/exact", 0.0)]
    assert fired(unsure + both([None, 0.5], [1, 1])[1:], tmp_path / "e") == []
    assert fired(both([0.5], [0]) + [row | {"step": 1} for row in unsure], tmp_path / "f") == []


def test_a_fall_of_exactly_two_errors_or_a_reward_that_stays_is_no_alarm(tmp_path: Path) -> None:
    """Errors 3/8 and 1/2 are 5/8 together; from 2 to 3/4 it is exactly twice that, to 5/8 more."""

    def rows(now: float, reward: float) -> Rows:
        best = {"step": 0, "score/held_out": 2.0, "score/held_out_error": 0.375, "reward/mean": 1.0}
        return [best, {"step": 1, "score/held_out": now, "score/held_out_error": 0.5, "reward/mean": reward}]

    assert fired(rows(0.75, 2.0), tmp_path / "a") == []
    assert fired(rows(0.625, 1.0), tmp_path / "b") == []
    assert [step for step, _, _ in fired(rows(0.625, 2.0), tmp_path / "c")] == [1]


def test_chosen_that_become_less_than_half_as_likely_over_three_steps(tmp_path: Path) -> None:
    """−ln 2 on average fires, counted over the last three steps that are there."""
    ln2 = math.log(2)
    for place, values in enumerate(((0.0, -ln2, -2 * ln2 + 1e-9), (-5.0, -5.0), (None, -5.0, -5.0))):
        assert fired(course("logratio/chosen", *values), tmp_path / f"not {place}") == []
    for place, values in enumerate(((-ln2, -ln2, -ln2), (0.0, 0.0, -2 * ln2, -ln2))):
        [(step, alarm, _)] = fired(course("logratio/chosen", *values), tmp_path / f"yes {place}")
        assert (step, alarm) == (len(values) - 1, "chosen becomes unlikely")


def test_alarms_that_a_former_run_left_are_forgotten_from_the_first_step_on(tmp_path: Path) -> None:
    rows = course("kl/exact", 3.0)
    assert len(fired(rows, tmp_path, kl_budget=2.0)) == len(fired(rows, tmp_path, kl_budget=2.0)) == 1
    assert fired([{"step": 0, "length/mean": 1.0}], tmp_path / "no kl", kl_budget=2.0) == []


def test_alarms_of_one_step_are_all_written_down(tmp_path: Path) -> None:
    rows = [{"step": 0, "kl/exact": 3.0, "ratio/first_deviation": 0.5}]
    alarms = Alarms(tmp_path / "alarms.jsonl", kl_budget=2.0)
    names = ["kl above budget", "first ratio is not 1"]
    assert [alarm.alarm for alarm in alarms.check(rows)] == names
    assert [row["alarm"] for row in read_jsonl(tmp_path / "alarms.jsonl")] == names
    assert alarms.check(rows) == []


def test_a_first_ratio_away_from_1_fires_in_the_first_step(tmp_path: Path) -> None:
    assert fired(course("ratio/first_deviation", 0.01), tmp_path / "a") == []
    assert fired(course("ratio/first_deviation", 0.02), tmp_path / "b") == [
        (0, "first ratio is not 1", "decoding or device.precision")
    ]
    assert [step for step, _, _ in fired(course("ratio/first_deviation", None, 0.02), tmp_path / "warm-up")] == [1]


def fired_in(rounding: Rounding, rows: Rows, path: Path) -> list[tuple[int, str]]:
    """(step, alarm) of what fires with the limits of a precision."""
    alarms = Alarms(path / "alarms.jsonl", kl_budget=None, rounding=rounding)
    found = [alarm for num in range(1, len(rows) + 1) for alarm in alarms.check(rows[:num])]
    return [(alarm.step, alarm.alarm) for alarm in found]


def test_limit_of_the_first_ratio_knows_the_precision(tmp_path: Path) -> None:
    half = Rounding.of(half=True, exact=False)
    assert fired_in(half, course("ratio/first_deviation", 0.0, 0.5), tmp_path / "a") == []
    assert fired_in(half, course("ratio/first_deviation", 0.51), tmp_path / "b") == [(0, "first ratio is not 1")]
    foreign = Rounding.of(half=False, exact=False)  # π_old is the trainer's own pass in float32
    assert fired_in(foreign, course("ratio/first_deviation", 0.02), tmp_path / "c") == [(0, "first ratio is not 1")]


@pytest.mark.parametrize(
    ("values", "step"),
    [
        ((0.015, 0.017, 0.016, 0.012), None),  # bfloat16's rounding
        ((0.015, 0.0374, 0.0376), 2),  # 2.5 · 0.015 = 0.0375
        ((0.001, 0.015, 0.02, 0.021), 3),  # below a fifth of 0.1 nothing is said
        ((0.08, 0.1, 0.11), 2),  # never above 0.1
        ((0.2,), 0),  # other weights from the start
        ((None, None, 0.015, 0.03, 0.04), 4),
    ],
)
def test_sampler_with_other_weights_is_told_from_rounding(
    values: tuple[float | None, ...], step: int | None, tmp_path: Path
) -> None:
    found = fired_in(Rounding.of(half=True, exact=False), course("mismatch/logps_mean", *values), tmp_path)
    assert found == ([] if step is None else [(step, "sampler holds other weights")])


def test_sampler_that_is_exact_has_the_limit_of_float32(tmp_path: Path) -> None:
    rows = course("mismatch/logps_mean", 1e-7, 1e-4, 3e-4)
    assert fired_in(Rounding.of(half=False, exact=True), rows, tmp_path) == [(2, "sampler holds other weights")]
    assert fired(rows, tmp_path / "as before")[0][1:] == (
        "sampler holds other weights", "the engine's synchronisation, or device.precision"
    )  # fmt: skip


def test_nothing_that_compares_with_the_start_fires_before_there_is_one(tmp_path: Path) -> None:
    for name in ("entropy/mean", "length/mean", "repeat/share"):
        assert fired(course(name, 10, 1, 0.9), tmp_path / name) == []


def test_on_resuming_alarms_of_steps_that_are_done_again_are_forgotten(tmp_path: Path) -> None:
    rows = course("kl/exact", 0.0, 3.0)
    assert fired(rows, tmp_path, kl_budget=2.0)
    assert Alarms(tmp_path / "alarms.jsonl", kl_budget=2.0, step=2).check(rows) == []
    assert len(Alarms(tmp_path / "alarms.jsonl", kl_budget=2.0, step=1).check(rows)) == 1


def test_a_metric_without_an_entry_and_one_that_is_no_number_are_refused(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    with pytest.raises(PreflabError, match="kl/exakt: not in the glossary") as refused:
        log.write(0, {"kl/exakt": 1.0})
    assert "kl/exact" in refused.value.expected
    with pytest.raises(PreflabError, match="loss/nll is nan at step 0"):
        log.write(0, {"loss/nll": math.nan})
    assert log.rows() == []


def test_groups_without_spread_fire_at_nine_tenths_three_steps_running(tmp_path: Path) -> None:
    name = "group/no_spread"
    assert not fired(course(name, 1.0, 1.0), tmp_path / "short")
    assert not fired(course(name, 0.95, 0.89, 0.95), tmp_path / "one below")
    expected = [(3, "groups without spread", "num_completions_per_prompt, or other prompts")]
    assert fired(course(name, 0.2, 0.9, 1.0, 0.95), tmp_path / "there") == expected


def test_the_setting_that_weighs_the_kl_has_the_name_it_has_there(tmp_path: Path) -> None:
    rows = [{"step": 0, "kl/exact": 2.0}]
    for name in ("kl_coef", "beta"):
        [alarm] = Alarms(tmp_path / f"{name}.jsonl", kl_budget=1.0, kl_setting=name).check(rows)
        assert alarm.setting == name


def still(step: int, chosen: float, rejected: float, **others: float) -> dict[str, Any]:
    return {"step": step, "logratio/chosen": chosen, "logratio/rejected": rejected, **others}


def moved(rows: Rows, path: Path, num_steps: int | None) -> list[tuple[int, str]]:
    """(step, message) of what is said of a policy that hardly moved."""
    alarms = Alarms(path / "alarms.jsonl", kl_budget=None, num_steps=num_steps)
    found = [alarm for num in range(1, len(rows) + 1) for alarm in alarms.check(rows[:num])]
    return [(alarm.step, alarm.message) for alarm in found if alarm.alarm == "hardly moved"]


def test_a_policy_that_stays_where_it_was_is_said_so_at_the_last_step(tmp_path: Path) -> None:
    """Means of the last three steps: chosen (0.03 + 0.04 + 0.05) / 3, rejected −(0.01 + 0.02 + 0.03) / 3."""
    rows = [still(0, 0.0, 0.0), still(1, 0.03, -0.01), still(2, 0.04, -0.02), still(3, 0.05, -0.03)]
    [(step, message)] = moved(rows, tmp_path / "a", 4)
    assert step == 3
    assert "chosen +0.040, rejected −0.020 nats" in message
    assert moved(rows, tmp_path / "b", 5) == []  # not at its end yet
    assert moved(rows, tmp_path / "c", None) == []  # a stage without a reference that it starts from
    assert moved([*rows[:3], still(3, 0.081, -0.03)], tmp_path / "d", 4) == []  # a mean of 0.0503
    assert moved([*rows[:3], still(3, 0.05, -0.121)], tmp_path / "e", 4) == []  # the rejected one alone has moved


def test_held_out_groups_are_looked_at_after_the_last_update(tmp_path: Path) -> None:
    """Two steps are too few to tell by those: the first one is measured before any update."""
    held_out = {"held_out/logratio_chosen": 0.01, "held_out/logratio_rejected": 0.02}
    rows = [still(0, 0.0, 0.0), still(1, 0.01, 0.0)]
    assert moved(rows, tmp_path / "a", 2) == []
    [(_, message)] = moved([rows[0], rows[1] | held_out], tmp_path / "b", 2)
    assert "chosen +0.010, rejected +0.020 nats" in message
    assert moved([rows[0], rows[1] | held_out | {"held_out/logratio_chosen": 0.06}], tmp_path / "c", 2) == []


def test_a_policy_that_moved_on_what_it_learned_alone_has_moved(tmp_path: Path) -> None:
    held_out = {"held_out/logratio_chosen": 0.0, "held_out/logratio_rejected": 0.0}
    rows = [still(step, 0.3, -0.3) for step in range(4)]
    assert moved([*rows[:3], rows[3] | held_out], tmp_path, 4) == []


def test_a_loss_that_did_not_fall_tells_of_long_completions_that_hardly_moved(tmp_path: Path) -> None:
    """0.15 nats of a hundred tokens each, on both sides alike: the loss reads 0.69 → 0.69."""
    losses = (0.6931, 0.692, 0.690, 0.689, 0.688)  # the mean of the last three is 0.689, 0.6 % below the first
    rows = [still(step, 0.15, 0.12, **{"loss/total": loss}) for step, loss in enumerate(losses)]
    [(_, message)] = moved(rows, tmp_path / "a", 5)
    assert "chosen +0.150, rejected +0.120 nats" in message
    fallen = [row | {"loss/total": 0.6931 if row["step"] == 0 else 0.67} for row in rows]  # by 3.3 %
    assert moved(fallen, tmp_path / "b", 5) == []
    far = [row | {"logratio/rejected": -0.26} for row in rows]
    assert moved(far, tmp_path / "c", 5) == []


def test_a_run_on_its_own_samples_is_told_by_its_kl(tmp_path: Path) -> None:
    rows = [{"step": step, "kl/exact": 0.001 * step, "reward/mean": 0.5} for step in range(5)]
    [(step, message)] = moved(rows, tmp_path / "a", 5)
    assert (step, message) == (4, "the policy hardly moved: KL 0.0030 nats at the end")
    assert moved([*rows[:4], rows[4] | {"kl/exact": 0.03}], tmp_path / "b", 5) == []  # a mean of 0.0117
    assert moved(rows[:3], tmp_path / "c", 3) == []  # measured before the updates: three steps are too few to tell


@pytest.mark.parametrize(("size", "says"), [(0.05, True), (0.0625, False)])
def test_a_policy_still_by_its_log_ratios_alone_is_at_most_a_twentieth_away(
    size: float, says: bool, tmp_path: Path
) -> None:
    """On held-out pairs, of which one measurement counts; 0.05 has no exact mean of three."""
    rows = [still(step, 0.0, 0.0) for step in range(4)]
    for side in ("chosen", "rejected"):
        last = rows[3] | {f"held_out/logratio_{side}": -size}
        assert bool(moved([*rows[:3], last], tmp_path / side, 4)) == says


@pytest.mark.parametrize(
    ("size", "losses", "says"),
    [
        (0.25, (1.0, 1.0, 0.99, 1.0), True),
        (0.25, (1.0, 0.97, 0.98, 0.97), False),  # a mean of 0.9733: fallen by more than 2 %
        (0.25, (1.0, 0.98, 0.98, 0.98), False),  # by exactly 2 %
        (0.2578125, (1.0, 1.0, 1.0, 1.0), False),
        (0.25, (-1.0, -1.0, -1.0, -1.0), False),  # of a loss below 0 no share can be told
        (0.25, (0.0, 1.0, 1.0, 1.0), False),
        (0.25, (1.0, None, None, None), False),
        (0.25, (None, 1.0, 1.0, 1.0), False),
    ],
)
def test_a_policy_up_to_a_quarter_away_is_still_where_its_loss_stayed(
    size: float, losses: tuple[float | None, ...], says: bool, tmp_path: Path
) -> None:
    rows = [still(step, size, 0.0) | row for step, row in enumerate(course("loss/total", *losses))]
    assert bool(moved(rows, tmp_path, 4)) == says


@pytest.mark.parametrize(("kl", "says"), [(0.01, True), (0.0101, False), (-0.5, True)])
def test_kl_of_a_run_that_stood_is_at_most_a_hundredth(kl: float, says: bool, tmp_path: Path) -> None:
    rows = [{"step": step, "kl/exact": kl, "reward/mean": 0.5} for step in range(4)]
    rows[1]["kl/exact"] = rows[2]["kl/exact"] = kl
    assert bool(moved(rows, tmp_path / "a", 4)) == says
    without_reward = [{"step": step, "kl/exact": kl} for step in range(4)]
    assert moved(without_reward, tmp_path / "b", 4) == moved([*rows[:3], without_reward[3]], tmp_path / "c", 4) == []


def test_the_line_of_a_stage_speaks_of_its_last_step_alone() -> None:
    """A run that was continued has the alarm of its former end still."""
    alarms = [{"step": 4, "alarm": "hardly moved", "message": "it stood", "setting": "raise it"}]
    assert said_of_alarms(alarms, {"step": 4}) == "; it stood; raise it"
    assert said_of_alarms(alarms, {"step": 9}) == ""
    assert said_of_alarms([alarms[0] | {"alarm": "length drift"}], {"step": 4}) == ""


@pytest.mark.parametrize(
    ("losses", "says"),
    [
        ((0.69, 0.69, 0.69), True),
        ((0.69, 0.69, 0.684), True),  # by 0.9 %
        ((0.69, 0.69, 0.60), False),
        ((0.69,), False),  # measured before the only update
        ((), False),
        # Thirds of mean 0.90 and 0.88, variance 0.01 each: one standard error is √(0.02 / 3) = 0.082.
        ((0.8, 0.9, 1.0, 0.9, 0.9, 0.9, 0.78, 0.88, 0.98), True),
        ((0.8, 0.9, 1.0, 0.9, 0.9, 0.9, 0.71, 0.81, 0.91), False),
        ((1.0, 1.0), True),
        ((100.0, 99.0), False),  # by exactly a hundredth
        ((-100.0, -100.5), True),  # a loss below 0 falls by half a hundredth
        ((-100.0, -101.5), False),
        # Halves of three: means 2 and 1, variances 1 each: one standard error is √(2 / 3) = 0.816, below a fall of 1.
        ((1.0, 2.0, 3.0, 9.0, 9.0, 9.0, 0.0, 1.0, 2.0), False),
        ((1.0, 2.0, 3.0, 9.0, 9.0, 9.0, 0.5, 1.5, 2.5), True),
        ((1.0, 1.5, 9.0, 9.0, 0.75, 1.25), True),  # 1.25 and 1, variances 1/8 each: an error of 0.354
    ],
)
def test_a_loss_that_hardly_fell_is_said_so(losses: tuple[float, ...], says: bool) -> None:
    rows = [{"step": step, "loss/nll": loss} for step, loss in enumerate(losses)]
    assert said_of_loss(rows).startswith("; the loss hardly fell (") == says
    assert (said_of_loss(rows) == "") != says


def test_a_loss_that_rose_is_not_said_to_have_fallen() -> None:
    """Means 0.9 → 1.2. Means 0.90 → 0.92 with a standard error of 0.082 are no rise."""
    rows = [{"step": step, "loss/nll": loss} for step, loss in enumerate((0.9, 0.95, 1.2))]
    assert said_of_loss(rows).startswith("; the loss rose (0.900 → 1.20): raise the number of steps")
    noisy = (0.8, 0.9, 1.0, 0.9, 0.9, 0.9, 0.82, 0.92, 1.02)
    rows = [{"step": step, "loss/nll": loss} for step, loss in enumerate(noisy)]
    assert said_of_loss(rows).startswith("; the loss hardly fell (0.900 → 0.920)")


def test_steps_without_a_loss_say_nothing_of_it() -> None:
    rows = [{"step": 0}, {"step": 1, "loss/total": 0.69}, {"step": 2, "loss/nll": 0.69}]
    assert said_of_loss(rows).startswith("; the loss hardly fell (")
    assert said_of_loss(rows[:2]) == said_of_loss([]) == ""
