"""The commands. Nothing heavy is imported before a command needs it; every error is three short lines."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Any, NoReturn

import typer

from preflab import __version__
from preflab.cli import accounts, campaigns, constitution, labelling, models, records, running, scoring, starting
from preflab.cli.in_words import in_words
from preflab.cli.speaking import print_error
from preflab.errors import PreflabError

app = typer.Typer(
    name="preflab",
    help="From an instruct model and people's judgments to a model that people prefer, with the evidence that it is.",
    epilog="Add --debug to any command for the full traceback of an error.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _say_version(wanted: bool) -> None:
    if wanted:
        print(f"preflab {__version__}")
        raise typer.Exit


@app.callback()
def _everything(
    show_version: Annotated[
        bool, typer.Option("--version", help="Say which preflab this is.", callback=_say_version, is_eager=True)
    ] = False,
) -> None:
    """Takes what stands before the command."""


for room in (starting, records, scoring, running, constitution, labelling, campaigns, accounts, models):
    room.add_to(app)

# ClickException, of whichever click typer brings.
USAGE_ERROR: Any = typer.BadParameter.__mro__[2]


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Runs one command and leaves with its exit code.

    0; 2 for bad input and errors; 130 when interrupted; 141 when what it prints is read no more.
    """
    raise SystemExit(run_command(sys.argv[1:] if argv is None else argv))


def run_command(argv: Sequence[str]) -> int:
    """One command with these arguments; its exit code."""
    debug = "--debug" in argv
    os.environ.setdefault("TQDM_DISABLE", "1")  # other packages' bars: progress is shown in one place
    try:
        code = app([word for word in argv if word != "--debug"], prog_name="preflab", standalone_mode=False)
        if code == 130:
            return _interrupted()
        return int(code or 0)
    except (KeyboardInterrupt, typer.Abort):
        return _interrupted()
    except (BrokenPipeError, SystemExit) as leaving:
        if isinstance(leaving, SystemExit) and not isinstance(leaving.__context__, BrokenPipeError):
            raise
        return _nobody_reads()
    except USAGE_ERROR as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # a bare `preflab` or `preflab train`: its message is the help
            print(error.format_message(), file=sys.stderr)
            return 2
        problem, _, hint = error.format_message().partition(". ")
        command = getattr(getattr(error, "ctx", None), "command_path", "preflab")
        print_error(PreflabError(problem.rstrip("."), hint, f"`{command} --help` lists what there is"))
    except Exception as error:
        if debug:
            raise
        print_error(in_words(error))
        raise SystemExit(2) from error
    return 2


def _nobody_reads() -> int:
    """The reader of stdout is gone, as behind `| head -1`: the code that the system's own programs end with."""
    with suppress(OSError):  # where stdout is no file of the system
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 128 + signal.SIGPIPE


def _interrupted() -> int:
    print("interrupted: run the same command again; training goes on from its last checkpoint", file=sys.stderr)
    return 130
