"""The ids that exist, by hand: the others have no share of the probability."""

from __future__ import annotations

from math import log
from types import SimpleNamespace

import pytest
import torch

from preflab.models.chunk import Head
from preflab.models.chunked import token_statistics
from preflab.models.vocabulary import Vocabulary


def test_a_vocabulary_is_its_largest_id_and_its_holes() -> None:
    tokenizer = SimpleNamespace(get_vocab=lambda: {"a": 0, "b": 1, "c": 4, "an added one": 5})
    assert Vocabulary.of(tokenizer) == Vocabulary(6, (2, 3))
    assert Vocabulary.of(SimpleNamespace()) is None
    assert Vocabulary.of(SimpleNamespace(get_vocab=dict)) is None


@pytest.mark.parametrize("vocabulary", [Vocabulary(2), Vocabulary(4, (2, 3))])
def test_probabilities_of_two_ids_of_four_rows(vocabulary: Vocabulary) -> None:
    """Logits (ln 3, 0 | ln 5, ln 7) give (¾, ¼), entropy 2 ln 2 − ¾ ln 3; all four rows would give (3/16, 1/16, …)."""
    head, states, targets = Head(torch.tensor([log(3), 0.0, log(5), log(7)])[:, None]), torch.ones(2, 1), [0, 1]
    found = token_statistics(
        states,
        head,
        torch.tensor(targets),
        entropy=True,
        ref_hidden=torch.zeros(2, 1),
        vocabulary=vocabulary,
    )
    assert found.logps.tolist() == pytest.approx([log(3 / 4), log(1 / 4)], abs=1e-6)
    assert found.entropy.tolist() == pytest.approx([2 * log(2) - 0.75 * log(3)] * 2, abs=1e-6)
    assert found.ref_logps.tolist() == pytest.approx([-log(2)] * 2, abs=1e-6)
    assert found.kl.tolist() == pytest.approx([0.75 * log(1.5) + 0.25 * log(0.5)] * 2, abs=1e-6)
    logits = vocabulary.cut_logits(torch.tensor([log(3), 0.0, log(5), log(7)]))
    assert logits.softmax(-1)[:2].tolist() == pytest.approx([3 / 4, 1 / 4])
    assert logits.softmax(-1)[2:].tolist() == [0.0] * (vocabulary.num_ids - 2)
