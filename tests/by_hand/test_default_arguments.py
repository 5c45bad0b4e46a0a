"""Arguments that may be left out: what a call means without them."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import accelerate
import numpy as np
import pytest
import torch

from preflab.errors import PreflabError
from preflab.evaluation.bias import Contrast, bias
from preflab.evaluation.rouge import rouge_words
from preflab.feedback.order import copeland
from preflab.models.tiny import build_tokenizer
from preflab.records import Completion, Prompt
from preflab.rewards.ensemble import Baselines, EnsembleScorer
from preflab.rewards.functions import RewardFunction, load_function, reward_function
from preflab.rewards.implicit import ImplicitCard
from preflab.rewards.library import length_in_range
from preflab.rewards.rankings import Encoder
from preflab.rewards.score import RewardModelCard
from preflab.rewards.sources import PolicySide
from preflab.statistics.means import paired_difference
from preflab.training.metrics import MetricsLog
from preflab.training.processes import make_accelerator
from preflab.training.protocols import SampledCompletion, Scores, ScoringItem


class Constant:
    """A scorer that gives every completion one score."""

    def __init__(self, score: float) -> None:
        self.value = score

    def score(self, items: Any) -> Scores:
        return Scores(torch.full((len(items),), self.value))


def test_ensemble_subtracts_one_standard_deviation() -> None:
    """Scores 1 and 3: mean 2, deviation 1."""
    members, nothing = [Constant(1.0), Constant(3.0)], Baselines({}, torch.zeros(2))
    items = [ScoringItem(prompt=Prompt.make("p"), text="c")]
    assert EnsembleScorer(members, nothing, "mean_minus_std").score(items).total.tolist() == pytest.approx([1.0])


def test_no_word_is_in_a_range_without_ends() -> None:
    assert length_in_range("") == 1.0


def test_reward_functions_may_not_return_none() -> None:
    with pytest.raises(PreflabError, match="None"):
        reward_function(lambda prompt, completion: None, "f")(["p"], ["c"])
    assert not load_function("preflab.rewards.library:num_words").allow_none
    assert not RewardFunction("f", len, ("completion",), (), False, False).allow_none


def test_metrics_begin_anew(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps({"step": step, "loss/nll": 1.0}) + "\n" for step in range(3)), encoding="utf-8")
    assert MetricsLog(path, step=2).rows() == [{"step": step, "loss/nll": 1.0} for step in range(2)]
    assert MetricsLog(path).rows() == []


def test_accelerator_may_use_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerate, "Accelerator", lambda **settings: SimpleNamespace(num_processes=1, **settings))
    assert make_accelerator().cpu is False
    assert make_accelerator(cpu=True).cpu is True


def test_values_of_two_groups_are_means_and_not_shares() -> None:
    templates = tuple("abcdefgh")
    contrast = Contrast("gender", "man", "woman", templates, tuple((2 * row, 2 * row + 1) for row in range(8)))
    values = [0.0, 1.0] * 4 + [0.0, 0.0] * 4
    assert bias(contrast, values) == paired_difference([0.0] * 8, [1.0] * 4 + [0.0] * 4, templates)
    assert bias(contrast, values) != bias(contrast, values, share=True)


def test_words_keep_their_endings() -> None:
    assert rouge_words("Moving parcels") == ["moving", "parcels"]


def test_copeland_has_one_order() -> None:
    assert copeland(np.zeros((10, 10))).num_orders == 1


def test_a_decoder_reads_prompt_and_completion_as_one_text() -> None:
    """Prompts of encoder–decoders end with the end token; of decoders only completions do."""
    tokenizer = build_tokenizer(["ask me : yes no"], context=16)
    prompt = Prompt.make("ask me :")
    sequence = Encoder(tokenizer, True, 16)(prompt, Completion.make(prompt.id, "yes", "m"))
    assert sequence.prompt_ids == (tokenizer.bos_token_id, *tokenizer.convert_tokens_to_ids(["ask", "me", ":"]))
    assert not Encoder(tokenizer, True, 16).renderer.apart


def test_cards_are_of_the_first_format_and_of_a_decoder() -> None:
    card = RewardModelCard("", "hash", True, "last", 1.0, 0.0, 16, None)
    assert (card.format, card.apart) == (1, False)
    assert ImplicitCard("policy", 1.0, "base", "hash").format == 1


def test_nothing_is_known_of_a_policy_that_is_not_described() -> None:
    assert PolicySide().max_new_tokens == 0
    assert SampledCompletion((), (), "stop").policy_version == 0
