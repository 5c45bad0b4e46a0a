"""The command line. Heavy modules are imported only by the commands that need them; an error prints three lines."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Any, NoReturn

import typer

from preflab import __version__
from preflab.cli import (
    accounts,
    campaigns,
    constitution,
    dial,
    environments,
    games,
    labelling,
    lessons,
    models,
    records,
    replaying,
    running,
    scoring,
    serving,
    simulating,
    starting,
)
from preflab.cli.in_words import describe_error
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
def _read_global_options(
    show_version: Annotated[
        bool, typer.Option("--version", help="Say which preflab this is.", callback=_say_version, is_eager=True)
    ] = False,
) -> None:
    """Read the options that stand before the command."""


ROOMS = (
    starting,
    records,
    scoring,
    running,
    simulating,
    replaying,
    dial,
    constitution,
    labelling,
    campaigns,
    accounts,
    models,
    serving,
    games,
    lessons,
    environments,
)
for room in ROOMS:
    room.add_to(app)

# ClickException of the click that this typer uses: typer may bundle its own copy of click.
USAGE_ERROR: Any = typer.BadParameter.__mro__[2]


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit with its code.

    0 for success, 2 for bad input and errors, 130 when interrupted, 141 when the reader of stdout is gone.
    """
    raise SystemExit(run_command(sys.argv[1:] if argv is None else argv))


def run_command(argv: Sequence[str]) -> int:
    """Run one command with these arguments and return its exit code."""
    debug = "--debug" in argv
    os.environ.setdefault("TQDM_DISABLE", "1")  # hides the bars of other packages: preflab shows progress itself
    try:
        code = app([word for word in argv if word != "--debug"], prog_name="preflab", standalone_mode=False)
        if code == 130:
            return _report_interrupt()
        return int(code or 0)
    except (KeyboardInterrupt, typer.Abort):
        return _report_interrupt()
    except (BrokenPipeError, SystemExit) as leaving:
        if isinstance(leaving, SystemExit) and not isinstance(leaving.__context__, BrokenPipeError):
            raise
        return _close_stdout()
    except USAGE_ERROR as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # a bare `preflab` or `preflab train`: its message is the help
            print(error.format_message(), file=sys.stderr)
            return 2
        problem, _, hint = _plain_usage(error.format_message()).partition(". ")
        command = getattr(getattr(error, "ctx", None), "command_path", "preflab")
        print_error(PreflabError(problem.rstrip("."), hint, f"`{command} --help` lists commands and options"))
    except Exception as error:
        if debug:
            raise
        print_error(describe_error(error))
        raise SystemExit(2) from error
    return 2


def _plain_usage(message: str) -> str:
    """A usage error without the words of the library that reads the options."""
    message = message.replace("Value error, ", "")
    message = re.sub(r"Input should be a valid integer, unable to parse .*", "not a whole number", message)
    message = re.sub(r"Input should be a valid number, unable to parse .*", "not a number", message)
    return message.replace("Input should be", "it should be")


def _close_stdout() -> int:
    """Discard further output once the reader of stdout is gone (`| head -1`); returns 141, as system tools do."""
    with suppress(OSError):  # stdout has no file descriptor, as under a test runner
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 128 + signal.SIGPIPE


def _report_interrupt() -> int:
    print("interrupted: run the same command again; training resumes from its last checkpoint", file=sys.stderr)
    return 130
