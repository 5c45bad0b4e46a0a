"""Stages know every token that ends a turn: those of the configuration, the tokenizer and the chat template."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import GenerationConfig

from chat_templates import BY_NAME, byte_tokenizer
from preflab.models.tiny import build_model
from preflab.pipeline import Line, run
from preflab.recipe import load_recipe

RECIPE = """
recipe: 1
data: {pairs: {path: pairs.jsonl}}
stages:
  dpo:
    {kind: dpo, model: ./model, preferences: pairs, held_out: 0.5, num_epochs: 1, lora: {rank: 2},
     watch: {num_samples: 1, decoding: {max_new_tokens: 4}}}
  rm: {kind: reward, model: ./model, preferences: pairs, held_out: 0.0, num_epochs: 1, lora: {rank: 2}}
"""


@pytest.fixture
def ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Token → id of a model with Gemma's turns, whose configuration names one end that no template writes."""
    monkeypatch.chdir(tmp_path)
    tokenizer = byte_tokenizer(BY_NAME["gemma"])
    tokenizer.add_special_tokens({"additional_special_tokens": ["<end_of_turn>", "<start_of_turn>", "<halt>"]})
    found = {mark: tokenizer.convert_tokens_to_ids(mark) for mark in ("<eos>", "<end_of_turn>", "<halt>")}
    model = build_model(tokenizer, num_layers=1, hidden_size=16, num_heads=2, context=128, seed=0)
    model.generation_config = GenerationConfig(eos_token_id=[found["<halt>"]])
    for saved in (model, tokenizer):
        saved.save_pretrained("model")
    rows = [
        {"prompt": [{"role": "user", "content": f"question {number}"}], "chosen": "good", "rejected": "bad"}
        for number in range(6)
    ]
    Path("pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("recipe.yaml").write_text(RECIPE)
    return found


def encoders_of(monkeypatch: pytest.MonkeyPatch, name: str) -> tuple[Line, list[Any], list[set[int]]]:
    """The finished stage, the encoders it made, and where its sampler stopped."""
    from preflab.rewards import rankings
    from preflab.sampling import engine

    made: list[Any] = []
    stops: list[set[int]] = []
    encoder, sampler = rankings.Encoder, engine.TransformersEngine

    def encoders(*arguments: Any, **named: Any) -> Any:
        made.append(encoder(*arguments, **named))
        return made[-1]

    def samplers(*arguments: Any, **named: Any) -> Any:
        stops.append(set(named["stop_token_ids"]))
        return sampler(*arguments, **named)

    monkeypatch.setattr(rankings, "Encoder", encoders)
    monkeypatch.setattr(engine, "TransformersEngine", samplers)
    (line,) = run(load_recipe("recipe.yaml"), only=[name])
    return line, made, stops


@pytest.mark.parametrize("name", ["dpo", "rm"])
def test_an_encoder_knows_every_end(name: str, ids: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    line, made, stops = encoders_of(monkeypatch, name)
    (encoder,) = made
    assert set(encoder.stops) == {ids["<halt>"], ids["<eos>"]}
    assert set(encoder.renderer.stop_token_ids) == set(ids.values())
    if name == "dpo":
        assert stops == [set(ids.values())]
        assert set(GenerationConfig.from_pretrained(line.folder / "model").eos_token_id) == set(ids.values())
    else:
        assert set(json.loads((line.folder / "reward" / "reward_model.json").read_text())["stops"]) == set(
            encoder.stops
        )


def test_what_dpo_learns_from_ends_as_the_template_ends_turns(
    ids: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    from preflab.stages import dpo

    find, groups = dpo.find_groups, list[Any]()

    def found(*arguments: Any, **named: Any) -> Any:
        groups.append(find(*arguments, **named))
        return groups[-1]

    monkeypatch.setattr(dpo, "find_groups", found)
    run(load_recipe("recipe.yaml"), only=["dpo"])
    sequences = [sequence for group in (*groups[0].train, *groups[0].held_out) for sequence in group.sequences]
    assert len(sequences) == 12
    assert all(sequence.completion_ids[-1] == ids["<end_of_turn>"] for sequence in sequences)
    assert all(len(sequence.completion_ids) in (len("good") + 1, len("bad") + 1) for sequence in sequences)
