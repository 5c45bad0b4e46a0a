"""Timeouts and limits for connections: idle and half-sent requests are closed, the oldest first if there are too many.

If a request is refused while its body is still being sent, the connection stays open for some seconds and the rest of
the body is discarded: a client whose connection is closed while it sends never sees the response.
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
"""Largest size of a request's head, and of a chunk's head with its extensions."""

HEADERS_SECONDS = 20.0
"""Time limit for the head of a request, from the start of the connection or the request's first byte."""

BODY_SECONDS = 300.0
"""Time limit for the body of a request: enough for 16 MB at half a megabit per second."""

LINGER_SECONDS, LINGER_BYTES = 10.0, 32 * 2**20
"""Limits of time and size for the rest of a body that is received only to be discarded."""

LINGER_PAUSE = 0.05
"""Seconds between two pieces of such a body, so that hundreds of such connections do not slow down other requests. A
piece is at most 256 kB, so 32 MB can be received within the 10 seconds."""

RESERVED = 64
"""File descriptors kept for other uses than connections: the database, its log, images, the report."""

MOST_CONNECTIONS = 1000
"""Largest number of simultaneous connections, if the system allows as many."""


def most_connections() -> int:
    """The number of connections that may be open at once, below the system's limit of file descriptors."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(16, min(MOST_CONNECTIONS, soft - RESERVED)) if soft != resource.RLIM_INFINITY else MOST_CONNECTIONS


class Lingering:
    """A transport whose `close` lets a client finish sending the body of a request that was answered early."""

    def __init__(self, transport: Any, protocol: Patience) -> None:
        self.transport, self.protocol = transport, protocol

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)

    def is_closing(self) -> bool:
        """True once no further request is read from this connection."""
        return self.protocol.lingers or bool(self.transport.is_closing())

    def close(self) -> None:
        """Close the connection, after lingering if the response is sent but a body of known length is still coming."""
        conn = self.protocol.conn
        answered = conn.our_state in (h11.MUST_CLOSE, h11.CLOSED)
        chunked = any(name == b"transfer-encoding" for name, _ in self.protocol.headers or ())
        if conn.their_state is h11.SEND_BODY and answered and not chunked:
            self.protocol.linger()
        else:
            self.transport.close()


class Patience(H11Protocol):
    """The HTTP/1.1 protocol of uvicorn with time limits for receiving a request.

    The limit runs from the start of the connection, and again from the first byte of each further request, until the
    whole request has arrived.
    """

    headers_seconds: ClassVar[float] = HEADERS_SECONDS
    body_seconds: ClassVar[float] = BODY_SECONDS
    most: ClassVar[int] = MOST_CONNECTIONS
    turns: ClassVar[Turns] = Turns()
    """The queue that all connections of one server share."""
    conn: Paced

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.conn = Paced(HEAD_BYTES)
        self.waits_for_turn = False
        self.deadline: asyncio.TimerHandle | None = None
        self.reads_body = False
        self.waits_since = 0.0
        self.lingers = False
        self.num_discarded = 0

    def connection_made(self, transport: Any) -> None:
        """Accept a connection; if there are too many, close a lingering one or the one that has waited longest."""
        super().connection_made(transport)
        self.real: Any = transport
        self.transport = cast(Any, Lingering(transport, self))
        self._wait(self.headers_seconds)
        if len(self.connections) <= self.most:
            return
        lingering = next((c for c in self.connections if isinstance(c, Patience) and c.lingers), None)
        if lingering is not None:
            lingering.real.close()
        else:
            active = [c for c in self.connections if isinstance(c, Patience) and not c.transport.is_closing()]
            idle = {c: since for c in active if (since := c.idle_since) is not None}
            if len(active) > self.most:
                min(idle, key=lambda c: idle[c]).transport.close()  # never empty: the new connection is idle too

    @property
    def idle_since(self) -> float | None:
        """The loop time since which it waits for (the rest of) a request; None while a request is being handled."""
        if self.deadline is not None:
            return self.waits_since
        keep_alive = self.timeout_keep_alive_task
        return None if keep_alive is None else keep_alive.when() - self.timeout_keep_alive

    def data_received(self, data: bytes) -> None:
        """Process received data and update the time limit; while lingering, discard it."""
        if self.lingers:
            self.num_discarded += len(data)
            if self.num_discarded > LINGER_BYTES:
                self.real.close()
            else:
                self.flow.pause_reading()
                self.loop.call_later(LINGER_PAUSE, self._resume_lingering)
            return
        if not self.waits_for_turn:
            self.conn.num_left = CHUNKS_AT_ONCE
        super().data_received(data)
        self._update_limit()

    def handle_events(self) -> None:
        """Handle the received events, except chunks beyond the number that may be read in this turn of the loop."""
        super().handle_events()
        if self.transport.is_closing():
            return
        if self.conn.has_too_many:
            self._refuse_chunks()
        elif self.conn.is_held and not self.waits_for_turn:
            self.waits_for_turn = True
            self.real.pause_reading()
            self.turns.join(self.loop, self._read_further)

    def _read_further(self) -> None:
        self.waits_for_turn = False
        if self.transport.is_closing():
            return
        self.conn.num_left = CHUNKS_A_TURN
        self.handle_events()
        if not self.waits_for_turn and not self.flow.read_paused:
            self.real.resume_reading()
        self._update_limit()

    def _refuse_chunks(self) -> None:
        if self.conn.our_state is h11.SEND_RESPONSE:
            self.send_400_response(f"A body in more than {MOST_CHUNKS} chunks; send it in fewer, longer ones.")
        else:
            self.transport.close()

    def _update_limit(self) -> None:
        """Start, restart or end the time limit, by what is still missing of the request."""
        state = self.conn.their_state
        if state is h11.SEND_BODY and not self.reads_body:
            self.reads_body = True
            self._wait(self.body_seconds)
        elif state is h11.IDLE and self.deadline is None and self.conn.trailing_data[0]:
            self._wait(self.headers_seconds)  # part of the head of a further request has arrived
        elif state not in (h11.IDLE, h11.SEND_BODY):
            self.reads_body = False
            self._end_wait()

    def on_response_complete(self) -> None:
        """Start the time limit if part of the next request has arrived; otherwise only the keep-alive limit runs."""
        super().on_response_complete()
        self.reads_body = False
        if self.conn.their_state is h11.IDLE and self.conn.trailing_data[0] and not self.transport.is_closing():
            self._wait(self.headers_seconds)

    def linger(self) -> None:
        """End the response and discard whatever is still received, so that the client can read the response."""
        if self.lingers:
            return
        self.lingers = True
        self._end_wait()
        with contextlib.suppress(OSError):  # the client has already closed the connection
            self.transport.write_eof()
        self.flow.resume_reading()
        self.real.resume_reading()
        self.deadline = self.loop.call_later(LINGER_SECONDS, self.real.close)

    def _resume_lingering(self) -> None:
        if not self.real.is_closing():
            self.flow.resume_reading()

    def shutdown(self) -> None:
        """Close the connection because the server stops."""
        if self.lingers:
            self.real.close()
        else:
            super().shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the time limit."""
        self._end_wait()
        super().connection_lost(exc)

    def _wait(self, seconds: float) -> None:
        self._end_wait()
        self.waits_since = self.loop.time()
        self.deadline = self.loop.call_later(seconds, self._close_late)

    def _end_wait(self) -> None:
        if self.deadline is not None:
            self.deadline.cancel()
            self.deadline = None

    def _close_late(self) -> None:
        self.deadline = None
        if not self.transport.is_closing():
            self.transport.close()
