"""Errors of the system are said by what they mean; a reader that is gone ends a command as it ends others."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from preflab.cli.in_words import describe_error
from preflab.errors import PreflabError

SAID: list[tuple[Exception, str, str]] = [
    (PreflabError("a", "b", "c"), "a", "c"),
    (OSError(errno.ENOSPC, "No space left on device"), "could not be written (No space left", "free some space"),
    (OSError(errno.EIO, "Input/output error"), "could not be read or written (Input/output error)", "check the disk"),
    (PermissionError(errno.EACCES, "Permission denied", "/x/y"), "/x/y: Permission denied", "correct it"),
    (MemoryError(), "out of memory (MemoryError: no message)", "tokens_per_micro_batch"),
    (
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 1 byte"),
        "out of memory",
        "r",
    ),
    (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB."), "out of memory", "gradient_checkpointing"),
    (RecursionError("maximum recursion depth exceeded"), "something nested too deeply", "--debug"),
    (ValueError("first\nsecond"), "ValueError: first", "--debug"),
]


@pytest.mark.parametrize(("error", "found", "do"), SAID, ids=[type(error).__name__ for error, _, _ in SAID])
def test_what_is_said_of_an_error(error: Exception, found: str, do: str) -> None:
    said = describe_error(error)
    assert found in said.found
    assert do in said.do
    assert "second" not in said.found


def test_a_name_that_is_not_utf_8_is_shown() -> None:
    with pytest.raises(UnicodeEncodeError) as raised:
        os.fsdecode(b"p\xfe.jsonl").encode()
    assert r"'p\udcfe.jsonl'" in describe_error(raised.value).found


def test_a_reader_that_goes_away_ends_the_command_quietly(tmp_path: Path) -> None:
    """141 is 128 + SIGPIPE, what a shell says of `git log | head -1`."""
    command = [sys.executable, "-m", "preflab", "init", "--show", "all"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.readline()
        running.stdout.close()
        said = running.stderr.read()
    assert (running.returncode, said) == (141, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_full_place_for_what_is_printed_is_a_sentence(tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        command = [sys.executable, "-m", "preflab", "init", "--show", "all"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, cwd=tmp_path, check=False)
    assert done.returncode == 2
    assert b"could not be written (No space left on device)" in done.stderr
    assert b"foreseen" not in done.stderr
