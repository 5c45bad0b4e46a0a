"""A chat model behind an OpenAI-compatible address: asked with retries and limits, every call counted.

Only `POST {base_url}/chat/completions` is used, which vLLM, llama.cpp, Ollama, LM Studio and the hosted services have.
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
"""Answers that may be another one in a moment."""
LONGEST_WAIT = 60.0
COUNTS = ("num_calls", "num_retries", "prompt_tokens", "completion_tokens", "seconds")

Messages = Sequence[dict[str, str]]
"""[{"role": "system" | "user" | "assistant", "content": text}]."""


@dataclass(frozen=True)
class Reply:
    """What the model wrote."""

    text: str
    finish_reason: str
    """`stop`, or `length` where the limit cut it."""
    prompt_tokens: int
    completion_tokens: int
    seconds: float


@dataclass
class Usage:
    """What was asked of an endpoint so far."""

    num_calls: int = 0
    num_retries: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    """Of all calls together; several run at once."""
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def add(self, reply: Reply) -> None:
        """Count one answered call."""
        with self.lock:
            self.num_calls += 1
            self.prompt_tokens += reply.prompt_tokens
            self.completion_tokens += reply.completion_tokens
            self.seconds += reply.seconds

    def retried(self) -> None:
        """Count one call that has to be made again."""
        with self.lock:
            self.num_retries += 1

    def to_json(self) -> dict[str, float]:
        """The counts by name."""
        return {name: getattr(self, name) for name in COUNTS}

    def go_on(self, counts: Mapping[str, float]) -> None:
        """Count from what `to_json` gave when the run was last going."""
        with self.lock:
            for name in COUNTS:
                setattr(self, name, counts[name])

    def cost(self, per_million_prompt: float, per_million_completion: float) -> float:
        """Money, in the unit of the prices."""
        return (self.prompt_tokens * per_million_prompt + self.completion_tokens * per_million_completion) / 1e6


class Endpoint:
    """Asks one model at one address.

    Args:
        base_url: up to and including `/v1`.
        model: as the server calls it.
        api_key_env: the environment variable that holds the key; the key itself never stands in a recipe or a record.
        temperature: 0 gives the likeliest answer.
        max_tokens: longest answer.
        timeout_s: seconds one call may take.
        max_retries: further attempts after a time-out, a busy server or an answer that is no JSON.
        max_parallel: calls at once.
        sleep: waits between attempts; a test hands in another one.
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
        """One answer.

        Raises:
            PreflabError: refused, or still no answer after all retries; nothing is made up in its place.
        """
        body = {"model": self.model, "messages": list(messages), "temperature": self.temperature}
        body["max_tokens"] = self.max_tokens
        trouble = ""
        for attempt in range(self.max_retries + 1):
            if attempt:
                self.usage.retried()
            started = time.perf_counter()
            try:
                answer = self.client.post(self.url, json=body)
            except httpx.HTTPError as error:
                trouble = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
                self._wait(attempt, None)
                continue
            if answer.status_code in RETRIED:
                trouble = f"status {answer.status_code}: {_said(answer)}"
                self._wait(attempt, answer.headers.get("retry-after"))
                continue
            if answer.status_code != 200:
                raise PreflabError(
                    f"{self.url} refused with status {answer.status_code}: {_said(answer)}",
                    "an OpenAI-compatible server that knows the model and the key",
                    "look at base_url, model and the environment variable of the key",
                )
            reply = _reply(answer, time.perf_counter() - started)
            if isinstance(reply, Reply):
                self.usage.add(reply)
                return reply
            trouble = reply
            self._wait(attempt, None)
        raise PreflabError(
            f"{self.url}: no answer after {count(self.max_retries + 1, 'attempt')}; the last one: {trouble}",
            "an answer within the time-out",
            "run the same command again when the server is well: what was judged is kept",
        )

    def ask_many(self, questions: Sequence[Messages], on_done: Callable[[int], None] | None = None) -> list[Reply]:
        """The answers in the order of the questions, some at once; the first error ends it."""
        with ThreadPoolExecutor(self.max_parallel) as pool:
            pending = [pool.submit(self.ask, question) for question in questions]
            try:
                replies = []
                for one in pending:
                    replies.append(one.result())
                    if on_done is not None:
                        on_done(1)
                return replies
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _wait(self, attempt: int, asked: str | None) -> None:
        """As long as the server asks for, else 1, 2, 4, … seconds; at most a minute; not after the last attempt."""
        if attempt < self.max_retries:
            self.sleep(min(LONGEST_WAIT, _seconds(asked) if asked else 2.0**attempt))


def _seconds(text: str) -> float:
    try:
        return max(0.0, float(text))
    except ValueError:
        return 1.0  # a date: rare, and a second is polite


def _said(answer: httpx.Response) -> str:
    """What the server says of an error, shortened to one line."""
    try:
        body = answer.json()
        text = str(body["error"]["message"] if isinstance(body.get("error"), dict) else body)
    except (ValueError, KeyError, AttributeError):
        text = answer.text
    return " ".join(text.split())[:200] or "(nothing said)"


def _reply(answer: httpx.Response, seconds: float) -> Reply | str:
    """The reply, or what is wrong with it."""
    try:
        content: Any = answer.json()
        choice = content["choices"][0]
        text = choice["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError):
        return f"an answer that is not OpenAI's form: {answer.text[:120]!r}"
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
