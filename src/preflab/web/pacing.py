"""Limits how many chunks of a body are read at once, so that bodies in many small chunks do not block the event loop.

Reading a chunk costs as much processor time as reading the head of a request, however small the chunk is. 256 kB can
hold 40,000 chunks; an event loop that reads all of them at once responds to nobody for a second. Each turn of the
event loop therefore reads a limited number of chunks of one connection.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

import h11

CHUNKS_AT_ONCE = 32
"""Chunks that are read on arrival. Clients send chunks of 4 to 64 kB; 256 kB of data have at most about this many."""

CHUNKS_A_TURN = 400
"""Chunks that are read of one connection in one turn of the loop, which takes about ten milliseconds."""

MOST_CHUNKS = 20_000
"""Largest number of chunks in one body."""


class Paced(h11.Connection):
    """An HTTP connection that reads at most `num_left` chunks, then reports that it needs data until that is raised."""

    def __init__(self, max_incomplete_event_size: int) -> None:
        super().__init__(h11.SERVER, max_incomplete_event_size)
        self.num_left = CHUNKS_AT_ONCE
        self.num_chunks = 0
        """Chunks read of the current request."""

    @property
    def is_held(self) -> bool:
        """Whether reading has stopped at the limit, although more data may have arrived."""
        return self.num_left <= 0

    @property
    def has_too_many(self) -> bool:
        """Whether the current request has more than MOST_CHUNKS chunks."""
        return self.num_chunks > MOST_CHUNKS

    def next_event(self) -> Any:
        """The next event; `NEED_DATA` if the limit of chunks is reached."""
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
    """A queue of connections that have more chunks to read; one of them reads in each turn of the event loop."""

    def __init__(self) -> None:
        self.waiting: deque[Callable[[], None]] = deque()

    def join(self, loop: asyncio.AbstractEventLoop, go_on: Callable[[], None]) -> None:
        """Call `go_on` once, in a later turn of the loop, after those that joined before it."""
        self.waiting.append(go_on)
        if len(self.waiting) == 1:
            loop.call_soon(self._run_first, loop)

    def _run_first(self, loop: asyncio.AbstractEventLoop) -> None:
        go_on = self.waiting[0]
        try:
            go_on()
        finally:
            self.waiting.popleft()
            if self.waiting:
                loop.call_soon(self._run_first, loop)
