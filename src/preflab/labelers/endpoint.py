"""Client of an OpenAI-compatible chat server, with retries, limits and a count of all calls.

It uses only `POST {base_url}/chat/completions`, which vLLM, llama.cpp, Ollama, LM Studio and hosted services offer.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import httpx

from preflab.errors import PreflabError
from preflab.words import count

RETRIED = (408, 409, 429, 500, 502, 503, 504, 529)
"""HTTP status codes after which the same call is made again."""
LONGEST_WAIT = 60.0
"""Seconds between two attempts, at most."""
COUNTS = ("num_calls", "num_retries", "prompt_tokens", "completion_tokens", "seconds")

Messages = Sequence[dict[str, str]]
"""[{"role": "system" | "user" | "assistant", "content": text}]."""


@dataclass(frozen=True)
class Reply:
    """What the model wrote."""

    text: str
    finish_reason: str
    """`stop`, or `length` if the reply was cut at `max_tokens`."""
    prompt_tokens: int
    completion_tokens: int
    seconds: float


@dataclass
class Usage:
    """Counts of the calls to one endpoint so far; safe to update from several threads."""

    num_calls: int = 0
    num_retries: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    """Durations of all calls, added up; calls may overlap, so this can exceed the time passed."""
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def add(self, reply: Reply) -> None:
        """Count one answered call."""
        with self.lock:
            self.num_calls += 1
            self.prompt_tokens += reply.prompt_tokens
            self.completion_tokens += reply.completion_tokens
            self.seconds += reply.seconds

    def add_retry(self) -> None:
        """Count one retry."""
        with self.lock:
            self.num_retries += 1

    def to_json(self) -> dict[str, float]:
        """The counts by name."""
        return {name: getattr(self, name) for name in COUNTS}

    def restore(self, counts: Mapping[str, float]) -> None:
        """Continue counting from the counts that `to_json` returned before the run was interrupted."""
        with self.lock:
            for name in COUNTS:
                setattr(self, name, counts[name])

    def cost(self, per_million_prompt: float, per_million_completion: float) -> float:
        """Cost of all calls so far, in the currency of the two prices per million tokens."""
        return (self.prompt_tokens * per_million_prompt + self.completion_tokens * per_million_completion) / 1e6


class Endpoint:
    """Sends questions to one model on one server.

    Args:
        base_url: up to and including `/v1`.
        model: the name of the model on the server.
        api_key_env: the environment variable that holds the key. The key is never written to a recipe or a record.
        temperature: 0 gives the likeliest answer.
        max_tokens: length limit of an answer.
        timeout_s: time limit of one call, in seconds.
        max_retries: further attempts after a time-out, a status in `RETRIED` or a reply that is not valid.
        max_parallel: largest number of simultaneous calls.
        sleep: the function that waits between attempts; tests pass one that returns at once.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key_env: str = "OPENAI_API_KEY",
        temperature: float = 0.0,
        max_tokens: int = 512,
        timeout_s: float = 60.0,
        max_retries: int = 4,
        max_parallel: int = 4,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.url = f"{base_url.rstrip('/')}/chat/completions"
        self.model, self.temperature, self.max_tokens = model, temperature, max_tokens
        self.max_retries, self.max_parallel, self.sleep = max_retries, max_parallel, sleep
        self.usage = Usage()
        key = os.environ.get(api_key_env, "")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.client = httpx.Client(timeout=timeout_s, headers=headers)

    def ask(self, messages: Messages) -> Reply:
        """Send one conversation and return the reply.

        Raises:
            PreflabError: the server refused the call, or no attempt gave a valid reply.
        """
        body = {"model": self.model, "messages": list(messages), "temperature": self.temperature}
        body["max_tokens"] = self.max_tokens
        trouble = ""
        for attempt in range(self.max_retries + 1):
            if attempt:
                self.usage.add_retry()
            started = time.perf_counter()
            try:
                answer = self.client.post(self.url, json=body)
            except httpx.HTTPError as error:
                trouble = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
                self._wait(attempt, None)
                continue
            if answer.status_code in RETRIED:
                trouble = f"status {answer.status_code}: {_error_text(answer)}"
                self._wait(attempt, answer.headers.get("retry-after"))
                continue
            if answer.status_code != 200:
                raise PreflabError(
                    f"{self.url} refused with status {answer.status_code}: {_error_text(answer)}",
                    "an OpenAI-compatible server that knows the model and the key",
                    "check base_url, model and the environment variable that holds the key",
                )
            reply = _read_reply(answer, time.perf_counter() - started)
            if isinstance(reply, Reply):
                self.usage.add(reply)
                return reply
            trouble = reply
            self._wait(attempt, None)
        raise PreflabError(
            f"{self.url}: no answer after {count(self.max_retries + 1, 'attempt')}; the last one: {trouble}",
            "an answer within the time-out",
            "run the same command again when the server responds; judgments made so far are kept",
        )

    def ask_many(self, questions: Sequence[Messages], on_done: Callable[[int], None] | None = None) -> list[Reply]:
        """Ask up to `max_parallel` questions at once; return the replies in the order of the questions.

        The first error is raised, and the questions not yet sent are dropped.
        """
        with ThreadPoolExecutor(self.max_parallel) as pool:
            pending = [pool.submit(self.ask, question) for question in questions]
            try:
                replies = []
                for future in pending:
                    replies.append(future.result())
                    if on_done is not None:
                        on_done(1)
                return replies
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _wait(self, attempt: int, retry_after: str | None) -> None:
        """Wait `retry_after` seconds, or else 1, 2, 4, … seconds; at most a minute; never after the last attempt."""
        if attempt < self.max_retries:
            self.sleep(min(LONGEST_WAIT, _read_seconds(retry_after) if retry_after else 2.0**attempt))


def _read_seconds(text: str) -> float:
    try:
        return max(0.0, float(text))
    except ValueError:
        return 1.0  # The header may also hold a date, which is rare: wait one second.


def _error_text(answer: httpx.Response) -> str:
    """The server's error message, shortened to one line."""
    try:
        body = answer.json()
        text = str(body["error"]["message"] if isinstance(body.get("error"), dict) else body)
    except (ValueError, KeyError, AttributeError):
        text = answer.text
    return " ".join(text.split())[:200] or "(no message)"


def _read_reply(answer: httpx.Response, seconds: float) -> Reply | str:
    """The reply of an HTTP answer; a sentence about what is wrong if the answer holds none."""
    try:
        content: Any = answer.json()
        choice = content["choices"][0]
        text = choice["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError):
        return f"an answer that does not have OpenAI's format: {answer.text[:120]!r}"
    if not isinstance(text, str):
        return f"an answer without a text: {json.dumps(choice)[:120]}"
    usage = content.get("usage") or {}
    return Reply(
        text,
        str(choice.get("finish_reason") or "stop"),
        int(usage.get("prompt_tokens") or 0),
        int(usage.get("completion_tokens") or 0),
        seconds,
    )
