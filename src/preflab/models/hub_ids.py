"""Checks of Hub ids: whether a model is already in the local cache, and one quick test whether the Hub can be reached.

transformers itself retries every file five times, with growing pauses, before it gives up.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

SECONDS = 10.0
"""Time limit for an answer of the Hub, in seconds."""


def is_fetched(ref: str) -> bool:
    """Whether the local cache holds the configuration of a model with this id."""
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(ref, "config.json"), str)


def why_unreachable(ref: str) -> str:
    """The reason why the Hub cannot be reached, in one line; "" if it answers, even if it refuses the model."""
    from huggingface_hub import errors, get_hf_file_metadata, hf_hub_url

    unanswered = (getattr(errors, "HTTPError", OSError), OSError, RuntimeError)
    try:
        get_hf_file_metadata(hf_hub_url(ref, "config.json"), timeout=SECONDS)
    except errors.HfHubHTTPError:
        return ""
    except unanswered as error:
        return str(error).strip().partition("\n")[0] or type(error).__name__
    return ""


@contextmanager
def no_retry_lines() -> Iterator[None]:
    """Silence the Hub client's log line for each retry; the caller reports the final result once."""
    client = logging.getLogger("huggingface_hub")
    former = client.level
    client.setLevel(logging.ERROR)
    try:
        yield
    finally:
        client.setLevel(former)
