"""Names that may be ids on the Hub: whether one is here already, and one quick try whether the Hub can be asked at all.

transformers asks five times with growing pauses, for every file it would like, before it gives up.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

SECONDS = 10.0
"""How long the Hub may take to answer."""


def is_fetched(ref: str) -> bool:
    """Whether a model of this id was fetched before."""
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(ref, "config.json"), str)


def why_unreachable(ref: str) -> str:
    """Why the Hub cannot be asked for a model, in a line; "" where it answers, whatever it says of the model."""
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
    """Without the client's line for each further try: what came of them is said once, at the end."""
    client = logging.getLogger("huggingface_hub")
    former = client.level
    client.setLevel(logging.ERROR)
    try:
        yield
    finally:
        client.setLevel(former)
