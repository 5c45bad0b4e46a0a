"""Progress output: bars in a terminal, plain lines elsewhere, nothing in silent mode (for output read by programs).

    with progress("ppo", total=60) as bar:
        bar.advance(1, reward=0.42, kl=1.3)

Everything goes to stderr, so that stdout holds results alone. rich is imported when the first bar is drawn.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from preflab.words import number

Mode = Literal["auto", "bars", "lines", "silent"]

SECONDS_BETWEEN_LINES = 5.0
_mode: Mode = "auto"
_open: list[Bar] = []
_drawn: Any = None


@contextmanager
def mode_for(wanted: Mode) -> Iterator[None]:
    """Set how progress is shown inside the block; `auto` draws bars when stderr is a terminal, else prints lines."""
    global _mode
    former, _mode = _mode, wanted
    try:
        yield
    finally:
        _mode = former


def mode() -> Mode:
    """The mode in force: the one set by `mode_for`; for `auto`, bars if stderr is a terminal, else lines."""
    if _mode != "auto":
        return _mode
    return "bars" if sys.stderr.isatty() else "lines"


def clock(seconds: float) -> str:
    """Seconds as minutes or hours: 41 → `0:41`, 3700 → `1:01:40`."""
    minutes, whole_seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{whole_seconds:02d}" if hours else f"{minutes}:{whole_seconds:02d}"


def figure(value: float | str) -> str:
    """A number with three significant digits; a string unchanged."""
    return value if isinstance(value, str) else number(value)


class Bar:
    """The progress of one task: steps done, rate, time left, and the figures shown beside it."""

    def __init__(self, name: str, total: int | None, done: int = 0) -> None:
        self.name, self.total, self.done = name, total, done
        self.figures: dict[str, float | str] = {}
        self._started, self._first = time.monotonic(), done
        self._printed = self._started
        self._task: Any = None

    def advance(self, num: int = 1, **figures: float | str) -> None:
        """Count `num` more steps as done; `figures` replace those of the same name beside the bar."""
        self.done += num
        self.figures |= figures
        if self._task is not None:
            _drawn.update(self._task, completed=self.done, figures=self.shown_figures())
        elif mode() == "lines" and _open and _open[0] is self:
            self._line()

    @property
    def rate(self) -> float:
        """Steps per second since the start; 0 before the first step."""
        return (self.done - self._first) / max(time.monotonic() - self._started, 1e-9)

    @property
    def left(self) -> float | None:
        """Seconds left at the current rate; None while the total or the rate is unknown."""
        return (self.total - self.done) / self.rate if self.total is not None and self.rate > 0 else None

    def shown_figures(self) -> str:
        """`reward 0.42  kl 1.3`."""
        return "  ".join(f"{name} {figure(value)}" for name, value in self.figures.items())

    def text(self) -> str:
        """One plain line: `ppo  12/60  1.3/s  0:36 left  reward 0.42`."""
        count = f"{self.done}/{self.total}" if self.total is not None else str(self.done)
        parts = [self.name, count, f"{figure(self.rate)}/s"]
        if self.left is not None and self.done != self.total:
            parts.append(f"{clock(self.left)} left")
        return "  ".join([*parts, self.shown_figures()]).rstrip()

    def _line(self) -> None:
        now = time.monotonic()
        if now - self._printed >= SECONDS_BETWEEN_LINES:
            self._printed = now
            print(self.text(), file=sys.stderr, flush=True)


@contextmanager
def progress(name: str, total: int | None = None, done: int = 0) -> Iterator[Bar]:
    """Show a bar for `total` steps, of which `done` are finished already (after a resume); bars may be nested."""
    bar = Bar(name, total, done)
    _open.append(bar)
    try:
        if mode() == "bars":
            _draw(bar)
        yield bar
    finally:
        _open.remove(bar)
        _erase(bar)


def say(line: str) -> None:
    """Print a message that is not a result to stderr, above any bars; print nothing in silent mode."""
    if mode() == "silent":
        return
    if _drawn is not None:
        _drawn.console.print(line, markup=False, highlight=False)
    else:
        print(line, file=sys.stderr, flush=True)


def _draw(bar: Bar) -> None:
    global _drawn
    if _drawn is None:
        _drawn = _rich_progress()
        _drawn.start()
    bar._task = _drawn.add_task(bar.name, total=bar.total, completed=bar.done, figures="")


def _erase(bar: Bar) -> None:
    global _drawn
    if bar._task is None:
        return
    _drawn.remove_task(bar._task)
    bar._task = None
    if not any(other._task is not None for other in _open):
        _drawn.stop()
        _drawn = None


def _rich_progress() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Any) -> Text:
            return Text(f"{figure(task.speed)}/s" if task.speed else "")

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[figures]}"),
        console=Console(stderr=True),
        transient=True,
        refresh_per_second=4,
    )
