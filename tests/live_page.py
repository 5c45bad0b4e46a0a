"""The simulator's page with a source of new text that needs no model, served on a free port."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from preflab.errors import PreflabError
from preflab.explain.simulator_page import simulator_page
from preflab.web.live import PATH, live_listening

KEY = "a-key-of-these-tests"


class Typist:
    """Writes the given tokens, each after a pause; counts what it wrote and how many write at once."""

    def __init__(self, tokens: Sequence[tuple[str, float]], pause: float = 0.0) -> None:
        self.tokens, self.pause = tokens, pause
        self.asked: list[Any] = []
        self.num_written = self.num_at_once = self.most_at_once = 0
        self.fails_after: int | None = None

    def check(self, request: Any) -> Any:
        """Any mapping is fine."""
        if not isinstance(request, dict):
            raise PreflabError("no mapping", "a mapping", "reload the page")
        self.asked.append(request)
        return request

    def write(self, wanted: Any) -> Iterator[dict[str, Any]]:
        """The tokens, then scores."""
        self.num_at_once += 1
        self.most_at_once = max(self.most_at_once, self.num_at_once)
        try:
            for number, (text, log_ratio) in enumerate(self.tokens):
                if number == self.fails_after:
                    raise PreflabError("the model broke", "a whole one", "mend it")
                time.sleep(self.pause)
                self.num_written += 1
                yield {"kind": "token", "text": text, "logp": -0.5, "log_ratio": log_ratio}
            yield {
                "kind": "end", "finish_reason": "stop", "num_tokens": len(self.tokens),
                "log_ratio": sum(ratio for _, ratio in self.tokens), "reward": 1.25, "terms": {"rm": 1.25},
                "criteria": {"gold": None},
            }  # fmt: skip
        finally:
            self.num_at_once -= 1


def live_facts(runs: Sequence[tuple[str, float]]) -> dict[str, Any]:
    """What the page's data say about the source."""
    return {"url": PATH, "token": KEY, "runs": [{"name": name, "kl_coef": beta} for name, beta in runs], "most": 10}


@contextmanager
def served(data: dict[str, Any], typist: Typist) -> Iterator[str]:
    """The address of the page while it is served."""
    with live_listening(simulator_page(data), typist, KEY, 0) as (server, listener, address):
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield address
        finally:
            server.should_exit = True
            thread.join(10)
            assert not thread.is_alive()
