"""Judges over real parts: a chat server that must be read, a small model asked by likelihood."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from chat_server import Answer, chat_server
from chat_templates import BY_NAME, CHATML, OPENED, byte_tokenizer
from preflab.errors import PreflabError
from preflab.labelers.ai import EndpointJudge, PairAsked, RatingAsked, judge_ranking
from preflab.labelers.endpoint import Endpoint
from preflab.labelers.judge_sources import describe_judge
from preflab.labelers.local import LocalJudge
from preflab.labelers.questions import label_question
from preflab.models.tiny import build_model, build_tokenizer
from preflab.settings.ai import JudgeSource
from preflab.stages.ai_judge import _result


def shorter(body: dict[str, Any], number: int) -> Answer:
    """Prefers the shorter answer; with `unreadable` in the prompt it says so at first, with `never` always."""
    asked = body["messages"][1]["content"]
    again = len(body["messages"]) > 2
    if "never" in asked or ("unreadable" in asked and not again):
        return Answer("I like both of them.")
    if "Rate one answer" in asked:
        return Answer("Short enough.\nSCORE: 4")
    first = asked.split("[Answer A]\n")[1].split("\n\n[Answer B]")[0]
    second = asked.split("[Answer B]\n")[1].split("\n\nSay in")[0]
    return Answer(f"Lengths {len(first)} and {len(second)}.\nVERDICT: {'A' if len(first) < len(second) else 'B'}")


def test_an_endpoint_ranks_and_keeps_its_reasons() -> None:
    with chat_server(shorter) as server:
        judge = EndpointJudge(Endpoint(server.url, "m"))
        found = judge_ranking(judge, "Which is better?", "Be brief.", ["four", "a longer one", "ab"])
    assert found is not None
    ranks, why = found
    assert ranks == (2, 3, 1)
    assert "1 against 2: first" in why
    assert "Lengths 4 and 12." in why
    assert judge.endpoint.usage.num_calls == 6


def test_an_unreadable_answer_is_asked_for_once_more() -> None:
    with chat_server(shorter) as server:
        judge = EndpointJudge(Endpoint(server.url, "m"))
        said = judge.compare([PairAsked("Which?", "unreadable", "a", "bbb")])
    assert said[0].choice == "first"
    assert "I like both of them." in said[0].reasons
    assert [len(body["messages"]) for body in server.asked] == [2, 4]
    assert judge.num_unread == 0


def test_a_truncated_answer_is_asked_for_once_more() -> None:
    cut = [Answer("A is VERDICT: A", finish_reason="length"), Answer("VERDICT: B")]
    with chat_server(lambda body, number: cut[number]) as server:
        said = EndpointJudge(Endpoint(server.url, "m")).compare([PairAsked("Which?", "p", "a", "b")])
    assert said[0].choice == "second"


def test_a_judge_that_never_gives_a_verdict_is_an_error() -> None:
    with chat_server(shorter) as server:
        judge = EndpointJudge(Endpoint(server.url, "m"))
        with pytest.raises(PreflabError, match="6 of 6 answers cannot be read") as raised:
            judge.compare([PairAsked("Which?", f"never {i}", "a", "b") for i in range(6)])
    assert "I like both of them." in raised.value.found


def test_ratings_one_by_one() -> None:
    with chat_server(shorter) as server:
        said = EndpointJudge(Endpoint(server.url, "m")).rate([RatingAsked("brevity", "p", "a")])
    assert (said[0].score, said[0].reasons) == (4, "Short enough.")


@pytest.fixture
def local() -> LocalJudge:
    words = label_question("which", "say it", "kind", "rude") + " A B 1 2 3 4 5 SCORE : kind rude very . ,"
    tokenizer = build_tokenizer([words], context=256)
    torch.manual_seed(0)
    model = build_model(tokenizer, num_layers=1, hidden_size=32, num_heads=2, context=256, seed=0)
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(20)
    return LocalJudge(model, tokenizer)


def test_a_local_judge_compares_what_the_model_thinks_of_the_labels(local: LocalJudge) -> None:
    asked = [PairAsked("which", "say it", first, second) for first, second in (("kind", "rude"), ("rude", "very"))]
    said = local.compare(asked)
    for one, a in zip(said, asked, strict=True):
        # The oracle: the model's own logits after the question, one text at a time.
        ids = local.renderer.tokenizer(label_question(a.question, a.prompt, a.first, a.second), return_tensors="pt")[
            "input_ids"
        ]
        if ids[0, -1] == local.renderer.tokenizer.eos_token_id:
            ids = ids[:, :-1]
        model = local.trunk.models["policy"]
        logits = model(input_ids=ids).logits[0, -1].detach().double()
        places = [local.renderer.tokenizer.convert_tokens_to_ids(label) for label in ("A", "B")]
        expected = torch.sigmoid(logits[places[0]] - logits[places[1]]).item()
        assert one.confidence == pytest.approx(expected, abs=1e-4)
        assert one.choice == ("first" if expected > 0.5 else "second")
    width = 0.5 + 1e-6
    tied = LocalJudge(local.trunk.models["policy"], local.renderer.tokenizer, tie_width=width)
    assert [one.choice for one in tied.compare(asked)] == ["equal", "equal"]


def test_a_local_judge_rates_by_expected_points(local: LocalJudge) -> None:
    said = local.rate([RatingAsked("which", "say it", "kind"), RatingAsked("which", "say it", "rude")])
    points = [one.score for one in said]
    assert all(point is not None and 1 <= point <= 5 for point in points)
    assert np.ptp(np.array(points, dtype=float)) > 0


def test_a_question_beyond_the_context_is_refused(local: LocalJudge) -> None:
    with pytest.raises(PreflabError, match="a judge with a context of 256"):
        local.compare([PairAsked("which", "say it", "kind " * 300, "rude")])


@pytest.mark.parametrize(
    ("template", "asked", "said"),
    [
        (None, "likelihood", ""),
        (CHATML, "likelihood in a turn", ""),
        (OPENED, "likelihood in a turn, thinking closed", "the judge's thinking was closed before each label"),
    ],
)
def test_a_record_and_the_summary_say_where_thinking_is_closed(template: str | None, asked: str, said: str) -> None:
    tokenizer = byte_tokenizer(BY_NAME["chatml"])
    tokenizer.chat_template = template
    judge = LocalJudge(build_model(tokenizer, num_layers=1, hidden_size=16, num_heads=2, context=64, seed=0), tokenizer)
    about = describe_judge(JudgeSource(model="m"), judge)
    assert about["asked"] == asked
    report = {"num_judged": 2, "num_tasks": 2, "num_unread": 0, "judge": about, "people": None, "usage": None}
    assert _result(report).summary == ", ".join(filter(None, ["2 tasks judged by an AI", said]))
