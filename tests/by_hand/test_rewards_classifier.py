"""A classifier as a reward, by stand-ins for model and tokenizer: what is cut, batched and read off."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from preflab.records import Prompt
from preflab.rewards import classifier
from preflab.rewards.classifier import ClassifierScorer
from preflab.training.protocols import ScoringItem


class WordTokenizer:
    """A token per word, which is its number of characters."""

    def __init__(self, longest: int) -> None:
        self.model_max_length = longest

    def __call__(self, text: str, *, truncation: bool, max_length: int | None = None, **_: Any) -> dict[str, list[int]]:
        ids = [len(word) for word in text.split()]
        return {"input_ids": ids[:max_length] if truncation else ids}

    def pad(self, rows: list[dict[str, list[int]]], return_tensors: str) -> Any:
        width = max(len(row["input_ids"]) for row in rows)
        ids = torch.tensor([row["input_ids"] + [0] * (width - len(row["input_ids"])) for row in rows])
        return type("Batch", (dict,), {"to": lambda self, device: self})(input_ids=ids)


@pytest.mark.parametrize(("of_tokenizer", "of_model", "longest"), [(4, 3, 3), (3, 4, 3), (4, None, 4)])
def test_texts_are_cut_where_the_shorter_of_two_contexts_ends(
    of_tokenizer: int, of_model: int | None, longest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The logit of class 1 is the sum of the tokens; texts of 1, 5 and 2 words of one character each."""
    used: list[int] = []
    rows = SimpleNamespace(groups=lambda lengths: [list(range(len(lengths)))], use=used.append)
    monkeypatch.setattr(classifier, "fitting_vocabulary", lambda model, tokenizer: None)
    monkeypatch.setattr(classifier, "switch_dropout_off", lambda model: None)
    monkeypatch.setattr(classifier, "RowLengths", lambda models: rows)

    class Model(SimpleNamespace):
        def __call__(self, input_ids: torch.Tensor) -> Any:
            total = input_ids.sum(1)
            return SimpleNamespace(logits=torch.stack([-total, total], 1))

    limits = {} if of_model is None else {"max_position_embeddings": of_model}
    model = Model(config=SimpleNamespace(id2label={0: "rude", 1: "kind"}, **limits), device="cpu")
    scorer = ClassifierScorer(model, WordTokenizer(of_tokenizer), "kind")
    scores = scorer.score([ScoringItem(Prompt.make("p"), text) for text in ("a", "a a a a a", "a a")])
    assert scores.total.tolist() == [1, longest, 2]
    assert used == [longest]
    assert scorer.num_cut(["a", "a a a a a", " ".join("a" * longest)]) == 1  # a text that just fits is read to its end
    assert scores.terms["kind"] is scores.total


@pytest.mark.parametrize(
    ("logits", "problem_type", "expected"),
    [
        ([0.0, 1.0986123], None, 3 / 4),  # e^1.0986 = 3: softmax 3 / (1 + 3)
        ([0.0, 0.6931472], "single_label_classification", 2 / 3),
        ([5.0, 1.0986123], "multi_label_classification", 3 / 4),  # sigmoid 1 / (1 + 1/3), whatever the other logit
        ([1.0986123], None, 3 / 4),  # softmax over one class would always be 1
    ],
)
def test_probability_is_softmax_where_classes_exclude_one_another(
    logits: list[float], problem_type: str | None, expected: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifier, "fitting_vocabulary", lambda model, tokenizer: None)
    monkeypatch.setattr(classifier, "switch_dropout_off", lambda model: None)
    names = {0: "fine", 1: "toxic"} if len(logits) == 2 else {0: "toxic"}
    config = SimpleNamespace(id2label=names, problem_type=problem_type)
    model = SimpleNamespace(config=config, modules=lambda: iter(()))
    scorer = ClassifierScorer(model, WordTokenizer(9), "toxic", output="probability")
    assert scorer._class_scores(torch.tensor([logits])).tolist() == pytest.approx([expected])
