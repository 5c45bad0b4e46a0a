"""Connections that send nothing, or half a request: closed after a time, the oldest first where there are too many.

One that still sends the body of a request that was refused is let to finish for a moment, unread, since whoever is hung
up on in the middle of sending never sees the answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
from typing import Any, ClassVar, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from preflab.web.pacing import CHUNKS_A_TURN, CHUNKS_AT_ONCE, MOST_CHUNKS, Paced, Turns

HEAD_BYTES = 64 * 1024
"""The longest head of a request, and of a chunk with its extensions."""

HEADERS_SECONDS = 20.0
"""Time for the head of a request, from the connection's first moment or the request's first byte."""

BODY_SECONDS = 300.0
"""Time for a request's body: 16 MB at half a megabit a second."""

LINGER_SECONDS, LINGER_BYTES = 10.0, 32 * 2**20
"""How long, and how much, is still taken of a body that nobody reads."""

LINGER_PAUSE = 0.05
"""Seconds between two pieces of such a body: hundreds of them at a time must not take the turns of requests that are
answered. A piece is at most 256 kB, so that 32 MB are taken within the 10 seconds."""

RESERVED = 64
"""Descriptors of files that are no connections: the database, its log, images, the report."""

MOST_CONNECTIONS = 1000
"""Connections at once, where the system allows as many."""


def most_connections() -> int:
    """Connections that may be open at once: below the system's limit of descriptors, so that answering never fails."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(16, min(MOST_CONNECTIONS, soft - RESERVED)) if soft != resource.RLIM_INFINITY else MOST_CONNECTIONS


class Lingering:
    """A connection that hangs up on nobody who is still sending."""

    def __init__(self, transport: Any, protocol: Patience) -> None:
        self.transport, self.protocol = transport, protocol

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)

    def is_closing(self) -> bool:
        """True from the moment on in which nothing is read any more."""
        return self.protocol.lingers or bool(self.transport.is_closing())

    def close(self) -> None:
        """Close it, at once unless the answer is out and the rest of a request of a known length is not yet in."""
        conn = self.protocol.conn
        answered = conn.our_state in (h11.MUST_CLOSE, h11.CLOSED)
        chunked = any(name == b"transfer-encoding" for name, _ in self.protocol.headers or ())
        if conn.their_state is h11.SEND_BODY and answered and not chunked:
            self.protocol.linger()
        else:
            self.transport.close()


class Patience(H11Protocol):
    """HTTP/1.1 with an end to waiting.

    A connection waits from its first moment, and again from a request's first byte, until the whole request is there.
    """

    headers_seconds: ClassVar[float] = HEADERS_SECONDS
    body_seconds: ClassVar[float] = BODY_SECONDS
    most: ClassVar[int] = MOST_CONNECTIONS
    turns: ClassVar[Turns] = Turns()
    """Of the connections of one server."""
    conn: Paced

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.conn = Paced(HEAD_BYTES)
        self.waits_for_turn = False
        self.deadline: asyncio.TimerHandle | None = None
        self.reads_body = False
        self.waits_since = 0.0
        self.lingers = False
        self.num_left_out = 0

    def connection_made(self, transport: Any) -> None:
        """Let a connection in; where it is one too many, the one that has waited longest goes."""
        super().connection_made(transport)
        self.real: Any = transport
        self.transport = cast(Any, Lingering(transport, self))
        self._wait(self.headers_seconds)
        if len(self.connections) <= self.most:
            return
        lingering = next((each for each in self.connections if isinstance(each, Patience) and each.lingers), None)
        if lingering is not None:
            lingering.real.close()
        else:
            here = [each for each in self.connections if isinstance(each, Patience) and not each.transport.is_closing()]
            idle = {each: since for each in here if (since := each.idle_since) is not None}
            if len(here) > self.most:
                min(idle, key=lambda each: idle[each]).transport.close()  # this one at the latest

    @property
    def idle_since(self) -> float | None:
        """Since when it has waited for (the rest of) a request, on the loop's clock; None while one is dealt with."""
        if self.deadline is not None:
            return self.waits_since
        kept = self.timeout_keep_alive_task
        return None if kept is None else kept.when() - self.timeout_keep_alive

    def data_received(self, data: bytes) -> None:
        """Read on, and know what is still missing."""
        if self.lingers:
            self.num_left_out += len(data)
            if self.num_left_out > LINGER_BYTES:
                self.real.close()
            else:
                self.flow.pause_reading()
                self.loop.call_later(LINGER_PAUSE, self._take_on)
            return
        if not self.waits_for_turn:
            self.conn.num_left = CHUNKS_AT_ONCE
        super().data_received(data)
        self._keep_time()

    def handle_events(self) -> None:
        """Deal with what has come, but for the chunks that wait for a turn of the loop."""
        super().handle_events()
        if self.transport.is_closing():
            return
        if self.conn.has_too_many:
            self._refuse_chunks()
        elif self.conn.is_held and not self.waits_for_turn:
            self.waits_for_turn = True
            self.real.pause_reading()
            self.turns.join(self.loop, self._go_on)

    def _go_on(self) -> None:
        self.waits_for_turn = False
        if self.transport.is_closing():
            return
        self.conn.num_left = CHUNKS_A_TURN
        self.handle_events()
        if not self.waits_for_turn and not self.flow.read_paused:
            self.real.resume_reading()
        self._keep_time()

    def _refuse_chunks(self) -> None:
        if self.conn.our_state is h11.SEND_RESPONSE:
            self.send_400_response(f"A body in more than {MOST_CHUNKS} chunks; send it in fewer, longer ones.")
        else:
            self.transport.close()

    def _keep_time(self) -> None:
        state = self.conn.their_state
        if state is h11.SEND_BODY and not self.reads_body:
            self.reads_body = True
            self._wait(self.body_seconds)
        elif state is h11.IDLE and self.deadline is None and self.conn.trailing_data[0]:
            self._wait(self.headers_seconds)  # half the head of a further request
        elif state not in (h11.IDLE, h11.SEND_BODY):
            self.reads_body = False
            self._end_wait()

    def on_response_complete(self) -> None:
        """A kept connection is idle, which may take longer, unless half of the next request is there."""
        super().on_response_complete()
        self.reads_body = False
        if self.conn.their_state is h11.IDLE and self.conn.trailing_data[0] and not self.transport.is_closing():
            self._wait(self.headers_seconds)

    def linger(self) -> None:
        """Take what is still sent, and forget it; the other side sees the answer and its end."""
        if self.lingers:
            return
        self.lingers = True
        self._end_wait()
        with contextlib.suppress(OSError):  # the other side is gone already
            self.transport.write_eof()
        self.flow.resume_reading()
        self.real.resume_reading()
        self.deadline = self.loop.call_later(LINGER_SECONDS, self.real.close)

    def _take_on(self) -> None:
        if not self.real.is_closing():
            self.flow.resume_reading()

    def shutdown(self) -> None:
        """End with the server."""
        if self.lingers:
            self.real.close()
        else:
            super().shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._end_wait()
        super().connection_lost(exc)

    def _wait(self, seconds: float) -> None:
        self._end_wait()
        self.waits_since = self.loop.time()
        self.deadline = self.loop.call_later(seconds, self._give_up)

    def _end_wait(self) -> None:
        if self.deadline is not None:
            self.deadline.cancel()
            self.deadline = None

    def _give_up(self) -> None:
        self.deadline = None
        if not self.transport.is_closing():
            self.transport.close()
