"""Turn an unexpected exception into the three lines of a `PreflabError`: explained if known, else as it is."""

from __future__ import annotations

import errno

from preflab.errors import PreflabError


def describe_error(error: Exception) -> PreflabError:
    """The exception as what was found, what was expected and what to do."""
    if isinstance(error, PreflabError):
        return error
    if isinstance(error, OSError):
        return _describe_os_error(error)
    if isinstance(error, UnicodeEncodeError) and "surrogates not allowed" in error.reason:
        return PreflabError(
            f"a file name or a text that is not UTF-8: {error.object[max(0, error.start - 20) : error.end + 20]!r}",
            "file names, folder names and texts in UTF-8",
            "rename the file or the folder, or save the text as UTF-8",
        )
    if isinstance(error, RecursionError):
        return _describe_unknown(error, "something nested too deeply")
    if _is_out_of_memory(error):
        return PreflabError(
            f"out of memory ({_first_line(error)})",
            "memory for the model, its gradients and optimiser state, and one micro-batch",
            "lower tokens_per_micro_batch in the stage's optimiser, set gradient_checkpointing: true, or use a "
            "smaller model; training resumes from its last checkpoint",
        )
    return _describe_unknown(error, "")


def _describe_os_error(error: OSError) -> PreflabError:
    if error.filename:
        return PreflabError(
            f"{error.filename}: {error.strerror}", "a file that can be read or written", "correct it and run again"
        )
    if error.errno == errno.EIO:
        return PreflabError(
            f"a file or stdout could not be read or written ({error.strerror})",
            "a working disk, and a stdout that accepts output",
            "check the disk or send the output elsewhere, then run the same command again",
        )
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EBADF):
        return PreflabError(
            f"a file or stdout could not be written ({error.strerror})",
            "free disk space, and a stdout that accepts output",
            "free some space or send the output elsewhere, then run the same command again",
        )
    return _describe_unknown(error, "")


def _is_out_of_memory(error: Exception) -> bool:
    """Whether this is Python's `MemoryError`, or torch's error for a full GPU or a failed CPU allocation."""
    message = str(error).lower()
    return isinstance(error, MemoryError) or any(
        words in message for words in ("out of memory", "can't allocate memory", "not enough memory")
    )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"


def _describe_unknown(error: Exception, what: str) -> PreflabError:
    return PreflabError(
        f"{what + ': ' if what else ''}{_first_line(error)}",
        "no such error: it may be a bug in preflab or in a function of your own",
        "run the same command with --debug for the traceback",
    )
