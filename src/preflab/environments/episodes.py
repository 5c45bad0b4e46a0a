"""Plays episodes: the policy's turns are sampled for all of them together, and their environments answer.

One round of `play` is one turn of the policy in every episode that is still going on. The sampled tokens stay as they
are, `conversations.exchange` writes what comes between them. Each turn has its own seed, so an episode depends neither
on the others nor on the batch in which it is decoded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from preflab.conversations.exchange import Exchange
from preflab.conversations.template import where
from preflab.environments.loading import EnvironmentSource, check_columns
from preflab.environments.protocol import Environment
from preflab.errors import PreflabError
from preflab.messages import Message, shown_turns
from preflab.records import Prompt
from preflab.seeds import derive_seed
from preflab.settings.sampling import DecodingSettings
from preflab.training.protocols import Episode, SampledCompletion, Sampler, SampleRequest
from preflab.words import count

if TYPE_CHECKING:
    from preflab.conversations.renderer import Renderer

NUM_TURNS = "num_turns"
"""The column that every episode has: turns of the policy."""


@dataclass(frozen=True)
class EnvironmentEpisodes:
    """Implements `training.protocols.Episodes`."""

    source: EnvironmentSource
    renderer: Renderer
    sampler: Sampler
    decoding: DecodingSettings
    """`max_new_tokens` is the limit of one turn."""
    max_turns: int
    """Most turns of the policy in an episode."""
    max_tokens: int
    """Most tokens of prompt and all turns; an episode without room for another turn is cut."""

    def play(self, prompts: Sequence[Prompt], seeds: Sequence[int], starts: Sequence[int]) -> list[Episode]:
        """One episode per prompt; see the protocol."""
        games = [
            self._start(f"episode {number} ({where(prompt)})", prompt, seed, start)
            for number, (prompt, seed, start) in enumerate(zip(prompts, seeds, starts, strict=True))
        ]
        for turn in range(self.max_turns):
            live = [game for game in games if game.goes_on]
            if not live:
                break
            requests = [SampleRequest(game.ids, game.seed_of(turn)) for game in live]
            for game, sampled in zip(live, self.sampler.sample(requests, self.decoding), strict=True):
                self._answer(game, sampled, turn, last=turn + 1 == self.max_turns)
        check_columns([game.columns for game in games], self.source.name)
        return [game.episode() for game in games]

    def _start(self, place: str, prompt: Prompt, seed: int, start: int) -> _Game:
        environment = self.source.start(place)
        read = read_prompt(
            prompt, self.source.reset(environment, prompt, start, place), turns=self.renderer.frame is not None
        )
        ids = self.renderer.prompt_ids(read)
        if len(ids) + self.decoding.max_new_tokens > self.max_tokens:
            raise PreflabError(
                f"{self.source.name}, {place}: {count(len(ids), 'token')} before the first turn, "
                f"and max_new_tokens {self.decoding.max_new_tokens}",
                f"together at most {count(self.max_tokens, 'token')}",
                "shorten the first turn, lower decoding.max_new_tokens, or raise environment.max_tokens",
            )
        return _Game(place, environment, read, ids, self.renderer.exchange(read), seed)

    def _answer(self, game: _Game, sampled: SampledCompletion, turn: int, *, last: bool) -> None:
        """Let the environment answer a sampled turn, and write what comes before the next one, if there is a next."""
        words = game.exchange.words(sampled.token_ids)
        reply = self.source.step(game.environment, words, f"{game.place}, turn {turn + 1}")
        game.take(sampled, words, float(reply.reward))
        game.columns = {name: float(value) for name, value in reply.columns.items()}
        if reply.end or last:
            game.goes_on, game.last_turn, game.ended = False, reply.turn or "", reply.end
            return
        assert reply.turn is not None
        between = game.exchange.reply(sampled.token_ids, reply.turn)
        if len(game.ids) + len(between) + self.decoding.max_new_tokens > self.max_tokens:
            game.goes_on, game.last_turn = False, reply.turn
            return
        game.hear(between, reply.turn)


def read_prompt(prompt: Prompt, first: str | Sequence[Message] | None, *, turns: bool) -> Prompt:
    """The prompt that the policy reads, with the columns of the given one.

    Args:
        prompt: the prompt of the recipe.
        first: what `reset` returned: a text is the user's turn after the prompt's system turns.
        turns: whether the model has a chat template; if not, a text is a plain prompt.
    """
    if first is None and prompt.messages:
        return prompt
    text = prompt.text if first is None else first
    if not isinstance(text, str):
        return Prompt.make(messages=tuple(text), columns=prompt.columns, source=prompt.source)
    if not turns:
        return Prompt.make(text=text, columns=prompt.columns, source=prompt.source)
    system = tuple(turn for turn in prompt.messages if turn.role == "system")
    return Prompt.make(messages=(*system, Message("user", text)), columns=prompt.columns, source=prompt.source)


@dataclass
class _Game:
    """An episode while it is played."""

    place: str
    """Its name in errors."""
    environment: Environment
    prompt: Prompt
    prompt_ids: tuple[int, ...]
    exchange: Exchange
    seed: int
    token_ids: list[int] = field(default_factory=list)
    written: list[bool] = field(default_factory=list)
    logps: list[float] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    states: list[torch.Tensor | None] = field(default_factory=list)
    turns: list[Message] = field(default_factory=list)
    columns: dict[str, float] = field(default_factory=dict)
    last_turn: str = ""
    goes_on: bool = True
    ended: bool = False
    """True: the environment ended it."""
    was_cut: bool = False
    """True: the length limit cut one of the policy's turns."""

    @property
    def ids(self) -> tuple[int, ...]:
        """All tokens so far."""
        return (*self.prompt_ids, *self.token_ids)

    def seed_of(self, turn: int) -> int:
        """The seed of a turn; the first turn has the episode's."""
        return derive_seed(self.seed, "turn", turn) if turn else self.seed

    def take(self, sampled: SampledCompletion, words: str, reward: float) -> None:
        """Add a turn of the policy; its reward is at its last token."""
        num = len(sampled.token_ids)
        self.token_ids += sampled.token_ids
        self.written += [True] * num
        self.logps += sampled.logps
        self.rewards += [*[0.0] * (num - 1), reward]
        self.states.append(sampled.states)
        self.turns.append(Message("assistant", words))
        self.was_cut |= sampled.finish_reason == "length"

    def hear(self, ids: Sequence[int], turn: str) -> None:
        """Add a turn of the environment, which is not learned from."""
        self.token_ids += ids
        self.written += [False] * len(ids)
        self.logps += [0.0] * len(ids)
        self.rewards += [0.0] * len(ids)
        self.turns.append(Message("user", turn))

    def episode(self) -> Episode:
        """The finished episode."""
        states = [one for one in self.states if one is not None]
        return Episode(
            prompt=self.prompt,
            prompt_ids=self.prompt_ids,
            token_ids=tuple(self.token_ids),
            logps=tuple(self.logps),
            text=shown_turns(self.turns) if len(self.turns) > 1 else self.turns[0].content,
            finished=self.ended and not self.was_cut,
            written=tuple(self.written),
            states=torch.cat(states) if len(states) == len(self.states) else None,
            turns=tuple(self.turns),
            last_turn=self.last_turn,
            rewards=tuple(self.rewards),
            columns={NUM_TURNS: float((len(self.turns) + 1) // 2), **self.columns},
        )
