"""Progress: plain lines where there is no terminal, bars where there is one, nothing for machines."""

from __future__ import annotations

import io
import re
import sys

import pytest

from preflab import progress as module
from preflab.progress import clock, figure, mode, mode_for, progress

Captured = pytest.CaptureFixture[str]


class Terminal(io.StringIO):
    """A stderr that is a terminal."""

    def isatty(self) -> bool:
        """It is one."""
        return True


def test_lines_say_count_rate_time_left_and_figures(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(0, 1000, 10))
    monkeypatch.setattr(module.time, "monotonic", lambda: float(next(now)))
    with mode_for("lines"), progress("ppo", total=4) as bar:
        bar.advance(1, reward=0.4241, kl=12.5)
    line = capsys.readouterr().err.strip()
    assert re.fullmatch(r"ppo  1/4  [\d.]+/s  \d:\d\d left  reward 0.424  kl 12.5", line)


def test_short_work_prints_no_line(capsys: Captured) -> None:
    with mode_for("lines"), progress("quick", total=3) as bar:
        for _ in range(3):
            bar.advance()
    assert capsys.readouterr().err == ""


def test_an_inner_bar_prints_no_lines_of_its_own(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LINES", 0.0)
    with mode_for("lines"), progress("outer", total=1) as outer, progress("inner", total=5) as inner:
        inner.advance(5)
        outer.advance(1)
    assert [line.split()[0] for line in capsys.readouterr().err.splitlines()] == ["outer"]


def test_silence(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LINES", 0.0)
    with mode_for("silent"), progress("ppo", total=1) as bar:
        bar.advance(1)
    assert capsys.readouterr() == ("", "")


def test_the_mode_follows_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert mode() == "lines"
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert mode() == "bars"
    with mode_for("silent"):
        assert mode() == "silent"


@pytest.mark.parametrize("no_color", [False, True])
def test_nested_bars_are_drawn_and_taken_away(monkeypatch: pytest.MonkeyPatch, no_color: bool) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    with progress("outer", total=2) as outer:
        with progress("inner", total=3) as inner:
            inner.advance(3)
        outer.advance(2, reward=1.5)
        module._drawn.refresh()
    drawn = terminal.getvalue()
    assert "outer" in drawn
    assert "reward 1.5" in drawn
    assert bool(re.search(r"\x1b\[(38;5;\d+|3\d)m", drawn)) is not no_color
    assert module._drawn is None


def test_a_bar_goes_on_after_a_resume() -> None:
    with mode_for("silent"), progress("ppo", total=10, done=4) as bar:
        bar.advance(1)
        assert bar.done == 5
        assert bar.text().startswith("ppo  5/10")


@pytest.mark.parametrize(("seconds", "shown"), [(0.4, "0:00"), (41, "0:41"), (61, "1:01"), (3700, "1:01:40")])
def test_clock(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown


@pytest.mark.parametrize(("value", "shown"), [(0.12345, "0.123"), (12, "12"), (4321.9, "4,322"), ("fast", "fast")])
def test_figures(value: float | str, shown: str) -> None:
    assert figure(value) == shown
