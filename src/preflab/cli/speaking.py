"""Output of the commands: the table of stages, the last line, JSON for machines, errors in three lines."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from preflab.errors import PreflabError
from preflab.words import duration

if TYPE_CHECKING:
    from preflab.pipeline import Line

DEFAULT_RECIPE = Path("recipe.yaml")
BY = "command line"
"""The name under which the audit log records changes made by commands."""

RecipeOption = Annotated[Path, typer.Option("--recipe", "-r", help="The recipe file.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change one setting, such as stages.ppo.kl_coef=0.1. May be repeated."
    ),
]
SplitOption = Annotated[
    str | None, typer.Option("--split", help="Split of a folder or data set; default: the only one.")
]
WorkspaceOption = Annotated[
    Path | None, typer.Option("--workspace", help="Folder of the database and of runs/; default: the recipe's.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else on stdout.")]


class Speaker:
    """Prints a command's results to stdout and collects the content of its JSON object."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self.stdout = sys.stdout
        self.content: dict[str, Any] = {}

    def say(self, text: str = "") -> None:
        """Print a line of the result, unless the output is JSON."""
        if not self.as_json:
            print(text, file=self.stdout)

    def last(self, where: Path | str | None, following: str, **content: Any) -> None:
        """Print the last line: the result's path and the next command. `content` is added to the JSON object."""
        self.content |= {"result": str(where) if where else None, "next": following, **content}
        self.say((f"result: {shown_path(where)}; " if where else "") + f"next: {following}")


@contextlib.contextmanager
def speaking(as_json: bool) -> Iterator[Speaker]:
    """A speaker; with --json progress is silent, stray prints go to stderr, and one object is printed at the end.

    With several processes only the main one (RANK 0) prints.
    """
    from preflab.progress import mode_for

    speaker, main = Speaker(as_json), os.environ.get("RANK", "0") == "0"
    with contextlib.ExitStack() as stack:
        if as_json or not main:
            stack.enter_context(mode_for("silent"))
            stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        if not main:
            speaker.stdout = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
        yield speaker
    if as_json and main:
        print(json.dumps(speaker.content, ensure_ascii=False, default=str), file=speaker.stdout)


def print_error(error: PreflabError) -> None:
    """Print to stderr what was found, what was expected and what to do."""
    lines = [line for line in (error.found, error.expected, error.do) if line]
    print("\n       ".join([f"error: {lines[0]}", *lines[1:]]), file=sys.stderr)


def shown_path(path: Path | str) -> str:
    """The path relative to the current folder, if it lies in it."""
    path = Path(path)
    with contextlib.suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)


def command(*words: str | Path, recipe: Path | None = None) -> str:
    """A command to type next, in backquotes; --recipe is added unless it is the default."""
    named = ["--recipe", str(recipe)] if recipe is not None and recipe != DEFAULT_RECIPE else []
    return f"`{shlex.join(['preflab', *map(str, words), *named])}`"


def print_table(speaker: Speaker, lines: Sequence[Line]) -> None:
    """Print the stages with state, summary and duration; in colour on a terminal."""
    speaker.content["stages"] = [_as_json(line) for line in lines]
    if speaker.as_json:
        return
    rows = [(line.name, line.state, line.summary, _last_column(line)) for line in lines]
    if not speaker.stdout.isatty():
        for row in padded([("stage", "state", "", "took"), *rows]):
            speaker.say(row)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("stage", "state", "", "took"):
        table.add_column(heading)
    colours = {"done": "green", "waiting": "yellow"}
    for name, state, summary, took in rows:
        table.add_row(name, f"[{colours.get(state, 'dim')}]{state}[/]", summary.replace("[", r"\["), took)
    Console(file=speaker.stdout).print(table)


def _last_column(line: Line) -> str:
    if line.state == "waiting":
        return line.link
    return duration(line.seconds) if line.state == "done" else ""


def short_help(text: str | None) -> str:
    """The first line of a command's help up to its first comma, semicolon or colon."""
    return re.split("[,;:]", (text or "").partition("\n")[0].rstrip("."))[0] + "."


def padded(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines of text with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _as_json(line: Line) -> Mapping[str, Any]:
    return {
        "stage": line.name,
        "kind": line.kind,
        "state": {"–": "missing"}.get(line.state, line.state),
        "summary": line.summary,
        "seconds": line.seconds,
        "folder": str(line.folder),
        "ran": line.ran,
        "link": line.link,
    }
