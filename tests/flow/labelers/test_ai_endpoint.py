"""The endpoint of AI judges against a server that is slow, busy, broken, or says no."""

from __future__ import annotations

from typing import Any

import pytest

from chat_server import Answer, chat_server
from preflab.errors import PreflabError
from preflab.labelers.endpoint import Endpoint

QUESTION = [{"role": "user", "content": "which is better?"}]


def test_an_answer_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "secret-key")
    with chat_server(lambda body, number: Answer("A, surely")) as server:
        endpoint = Endpoint(server.url, "judge-1", api_key_env="MY_KEY", max_tokens=77)
        reply = endpoint.ask(QUESTION)
    assert (reply.text, reply.finish_reason) == ("A, surely", "stop")
    assert server.asked == [{"model": "judge-1", "messages": QUESTION, "temperature": 0.0, "max_tokens": 77}]
    assert server.keys == ["Bearer secret-key"]
    usage = endpoint.usage
    assert (usage.num_calls, usage.num_retries, usage.prompt_tokens, usage.completion_tokens) == (1, 0, 10, 5)
    # 10 tokens at 3 and 5 at 15 per million
    assert usage.cost(3.0, 15.0) == pytest.approx(1.05e-4)


def test_a_busy_server_is_waited_for_as_long_as_it_asks() -> None:
    waits: list[float] = []
    busy = [Answer(status=429, headers={"retry-after": "7"}), Answer(status=503), Answer("done")]
    with chat_server(lambda body, number: busy[number]) as server:
        endpoint = Endpoint(server.url, "m", sleep=waits.append)
        assert endpoint.ask(QUESTION).text == "done"
    assert waits == [7.0, 2.0]
    assert endpoint.usage.num_retries == 2


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(body="<html>hello</html>"), "does not have OpenAI's format"),
        (Answer(body='{"choices": []}'), "does not have OpenAI's format"),
        (Answer(body='{"choices": [{"message": {"content": null}}]}'), "without a text"),
        (Answer(status=500, body='{"error": {"message": "out of memory"}}'), "status 500: out of memory"),
        (Answer("late", delay=1.0), "ReadTimeout"),
    ],
)
def test_what_stays_broken_is_an_error_after_all_retries(answer: Answer, said: str) -> None:
    waits: list[float] = []
    with chat_server(lambda body, number: answer) as server:
        endpoint = Endpoint(server.url, "m", max_retries=2, timeout_s=0.2, sleep=waits.append)
        with pytest.raises(PreflabError, match="no answer after 3 attempts") as raised:
            endpoint.ask(QUESTION)
    assert said in raised.value.found
    assert len(server.asked) == 3
    assert waits == [1.0, 2.0]
    assert endpoint.usage.num_calls == 0


def test_a_refusal_is_not_retried_and_the_key_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret-key")
    refused = Answer(status=401, body='{"error": {"message": "bad key"}}')
    with (
        chat_server(lambda body, number: refused) as server,
        pytest.raises(PreflabError, match="status 401: bad key") as raised,
    ):
        Endpoint(server.url, "m").ask(QUESTION)
    assert len(server.asked) == 1
    assert "secret-key" not in f"{raised.value.found} {raised.value.expected} {raised.value.do}"


def test_nobody_there() -> None:
    with pytest.raises(PreflabError, match="ConnectError"):
        Endpoint("http://127.0.0.1:9/v1", "m", max_retries=0).ask(QUESTION)


def test_many_keep_their_order() -> None:
    def echo(body: dict[str, Any], number: int) -> Answer:
        text = body["messages"][0]["content"]
        return Answer(text.upper(), delay=0.05 if text == "a" else 0.0)

    done: list[int] = []
    with chat_server(echo) as server:
        endpoint = Endpoint(server.url, "m", max_parallel=3)
        replies = endpoint.ask_many([[{"role": "user", "content": text}] for text in "abcdef"], done.append)
    assert [reply.text for reply in replies] == list("ABCDEF")
    assert sum(done) == 6
    assert endpoint.usage.num_calls == 6
