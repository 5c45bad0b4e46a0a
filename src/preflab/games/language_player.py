"""A language model as a player of a game: its likeliest turn in each of many conversations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from preflab.conversations.renderer import Renderer
from preflab.messages import Message
from preflab.models.language_model import open_language_model
from preflab.models.trunk import Trunk
from preflab.records import Prompt
from preflab.sampling.engines import EngineSource, make_engine
from preflab.settings.sampling import DecodingSettings
from preflab.training.protocols import Sampler, SampleRequest

LIKELIEST = DecodingSettings(temperature=0.0, max_new_tokens=2, max_batch_rows=512)
"""A move and the end token, each the likeliest."""


class LanguagePlayer:
    """Asks a model for its turns at temperature 0.

    Args:
        sampler: samples from the model.
        tokenizer: the model's tokenizer, made by `games.language_model`.
    """

    def __init__(self, sampler: Sampler, tokenizer: Any) -> None:
        self.sampler, self.tokenizer = sampler, tokenizer

    @classmethod
    def of_trunk(cls, trunk: Trunk) -> LanguagePlayer:
        """The policy of a trunk; it plays with the weights that the trunk has at the time."""
        policy = trunk.language_model("policy")
        stops = Renderer.of(policy, trunk.tokenizer).stop_token_ids
        return cls(make_engine(EngineSource.of_trunk(trunk, stops, keep_states=False)), trunk.tokenizer)

    @classmethod
    def of_folder(cls, folder: Path) -> LanguagePlayer:
        """The model of a folder."""
        return cls.of_trunk(open_language_model(folder, dtype="float32").trunk(("policy",)))

    def __call__(self, conversations: Sequence[Sequence[Message]]) -> list[str]:
        """The likeliest turn in each conversation, as text; "" if the model does not end it after one word."""
        requests = [SampleRequest(conversation_ids(self.tokenizer, turns), 0) for turns in conversations]
        sampled = self.sampler.sample(requests, LIKELIEST)
        return [
            self.tokenizer.decode(one.token_ids[:1]) if one.finish_reason == "stop" and len(one.token_ids) == 2 else ""
            for one in sampled
        ]


def conversation_ids(tokenizer: Any, turns: Sequence[Message]) -> tuple[int, ...]:
    """The tokens of a game's conversation as its chat template writes them, without the time that a template takes."""
    pieces = [tokenizer.bos_token]
    for turn in turns:
        pieces += turn.content.split()
        if turn.role == "assistant":
            pieces.append(tokenizer.eos_token)
    return tuple(tokenizer.convert_tokens_to_ids(pieces))


def conversation_prompt(turns: Sequence[Message]) -> Prompt:
    """The prompt of a conversation."""
    return Prompt.make(messages=tuple(turns))
