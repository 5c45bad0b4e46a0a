"""Bodies in many small chunks: read a few at a time, one connection a turn of the event loop.

A chunk costs the processor as much as a request's head, however small it is: 256 kB hold 40,000 of them, and a loop
that reads them in one go answers nobody for a second.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

import h11

CHUNKS_AT_ONCE = 32
"""Chunks that are read as they come. Clients send them by 4 to 64 kB; a piece of 256 kB has as many then."""

CHUNKS_A_TURN = 400
"""Chunks that one connection may have read in a turn of the loop: some ten milliseconds."""

MOST_CHUNKS = 20_000
"""Chunks of one body, whatever is in them."""


class Paced(h11.Connection):
    """Reads so many chunks and then says that nothing more is there, until it is given more."""

    def __init__(self, max_incomplete_event_size: int) -> None:
        super().__init__(h11.SERVER, max_incomplete_event_size)
        self.num_left = CHUNKS_AT_ONCE
        self.num_chunks = 0
        """Of the request that is read."""

    @property
    def is_held(self) -> bool:
        """More may be there than was read."""
        return self.num_left <= 0

    @property
    def has_too_many(self) -> bool:
        """More chunks than anybody needs."""
        return self.num_chunks > MOST_CHUNKS

    def next_event(self) -> Any:
        """The next event; `NEED_DATA` where this connection has had its turn."""
        if self.is_held:
            return h11.NEED_DATA
        event = super().next_event()
        if isinstance(event, h11.Data):
            self.num_left -= 1
            self.num_chunks += 1
        elif isinstance(event, h11.Request):
            self.num_chunks = 0
        return event


class Turns:
    """A queue of those that have more to read: one of them in each turn of the loop, whoever else is answered in it."""

    def __init__(self) -> None:
        self.waiting: deque[Callable[[], None]] = deque()

    def join(self, loop: asyncio.AbstractEventLoop, go_on: Callable[[], None]) -> None:
        """Call `go_on` once, in a later turn of the loop, after those that joined before it."""
        self.waiting.append(go_on)
        if len(self.waiting) == 1:
            loop.call_soon(self._one, loop)

    def _one(self, loop: asyncio.AbstractEventLoop) -> None:
        go_on = self.waiting[0]
        try:
            go_on()
        finally:
            self.waiting.popleft()
            if self.waiting:
                loop.call_soon(self._one, loop)
