"""Errors that no command foresaw, as three lines: those of the system by what they mean, all others as they are."""

from __future__ import annotations

import errno

from preflab.errors import PreflabError


def in_words(error: Exception) -> PreflabError:
    """The error in what was found, what was expected and what to do."""
    if isinstance(error, PreflabError):
        return error
    if isinstance(error, OSError):
        return _of_system(error)
    if isinstance(error, UnicodeEncodeError) and "surrogates not allowed" in error.reason:
        return PreflabError(
            f"a name or a text that is not UTF-8: {error.object[max(0, error.start - 20) : error.end + 20]!r}",
            "names of files and folders, and texts, in UTF-8",
            "rename the file or the folder, or save the text as UTF-8",
        )
    if isinstance(error, RecursionError):
        return _unforeseen(error, "something nested too deeply")
    if _out_of_memory(error):
        return PreflabError(
            f"the memory is full ({_first_line(error)})",
            "room for the model, what is learned and one micro-batch",
            "lower tokens_per_micro_batch in the stage's optimiser, set gradient_checkpointing: true, or take a "
            "smaller model; training goes on from its last checkpoint",
        )
    return _unforeseen(error, "")


def _of_system(error: OSError) -> PreflabError:
    if error.filename:
        return PreflabError(
            f"{error.filename}: {error.strerror}", "a file that can be read or written", "mend it and run again"
        )
    if error.errno == errno.EIO:
        return PreflabError(
            f"something could not be read or written ({error.strerror})",
            "files on a disk that works, and a place that takes what is printed",
            "check the disk, or print elsewhere, and run the same command again",
        )
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EBADF):
        return PreflabError(
            f"something could not be written ({error.strerror})",
            "a disk with room, and a place that takes what is printed",
            "free some room, or print elsewhere, and run the same command again",
        )
    return _unforeseen(error, "")


def _out_of_memory(error: Exception) -> bool:
    """Python's own, or one of torch's: of a GPU, or of the allocator of the processor."""
    message = str(error).lower()
    return isinstance(error, MemoryError) or any(
        words in message for words in ("out of memory", "can't allocate memory", "not enough memory")
    )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"


def _unforeseen(error: Exception, what: str) -> PreflabError:
    return PreflabError(
        f"{what + ': ' if what else ''}{_first_line(error)}",
        "this was not foreseen; it may be a bug in preflab or in a function of your own",
        "run the same command with --debug for the traceback",
    )
