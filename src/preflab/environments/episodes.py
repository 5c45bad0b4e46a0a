"""Plays episodes: the policy's turns are sampled for all of them together, and their environments answer.

One round of `play` is one turn of the policy in every episode that is still going on. The sampled tokens stay as they
are, `conversations.exchange` writes what comes between them. Each turn has its own seed, so an episode depends neither
on the others nor on the batch in which it is decoded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch

from preflab.conversations.exchange import Exchange
from preflab.conversations.template import where
from preflab.environments.loading import NUM_TURNS, EnvironmentSource, check_columns
from preflab.environments.protocol import Environment
from preflab.errors import PreflabError
from preflab.messages import Message, shown_turns
from preflab.records import Prompt
from preflab.seeds import derive_seed
from preflab.settings.sampling import DecodingSettings
from preflab.training.kept_tokens import KeptTokens
from preflab.training.protocols import Episode, SampledCompletion, Sampler, SampleRequest
from preflab.words import count

if TYPE_CHECKING:
    from preflab.conversations.renderer import Renderer


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
    known: list[Mapping[str, float]] = field(default_factory=list)
    """The columns of the first episode played; those of every later one have the same names."""

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
        self.known[:] = [*self.known, *(game.columns for game in games)][:1]
        check_columns([*self.known, *(game.columns for game in games)], self.source.name)
        return [game.episode() for game in games]

    def _start(self, place: str, prompt: Prompt, seed: int, start: int) -> _Game:
        environment = self.source.start(place)
        own = replace(prompt, columns=deepcopy(dict(prompt.columns)))  # an episode may change it without effect
        read = read_prompt(
            prompt, self.source.reset(environment, own, start, place), turns=self.renderer.frame is not None
        )
        with self._naming(f"{place}: reset"):
            ids, exchange = self.renderer.prompt_ids(read), self.renderer.exchange(read)
        if len(ids) + self.decoding.max_new_tokens > self.max_tokens:
            raise PreflabError(
                f"{self.source.name}, {place}: {count(len(ids), 'token')} before the first turn, "
                f"and max_new_tokens {self.decoding.max_new_tokens}",
                f"together at most {count(self.max_tokens, 'token')}",
                "shorten the first turn, lower decoding.max_new_tokens, or raise environment.max_tokens",
            )
        return _Game(place, environment, read, ids, exchange, seed)

    def _answer(self, game: _Game, sampled: SampledCompletion, turn: int, *, last: bool) -> None:
        """Let the environment answer a sampled turn, and write what comes before the next one, if there is a next."""
        words = game.exchange.words(sampled.token_ids)
        reply = self.source.step(game.environment, words, f"{game.place}, turn {turn + 1}")
        game.take(sampled, words, reply.reward)
        game.columns = reply.columns
        if reply.end or last:
            game.goes_on, game.last_turn, game.ended = False, reply.turn or "", reply.end
            return
        assert reply.turn is not None
        with self._naming(f"{game.place}, turn {turn + 1}"):
            between = game.exchange.reply(sampled.token_ids, reply.turn)
        if len(game.ids) + len(between) + self.decoding.max_new_tokens > self.max_tokens:
            game.goes_on, game.last_turn = False, reply.turn
            return
        game.hear(between, reply.turn)

    @contextmanager
    def _naming(self, place: str) -> Iterator[None]:
        """Errors of the renderer within it also name the environment, the episode and the turn."""
        try:
            yield
        except PreflabError as error:
            raise PreflabError(f"{self.source.name}, {place}: {error.found}", error.expected, error.do) from error


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
    kept: list[KeptTokens | None] = field(default_factory=list)
    turns: list[Message] = field(default_factory=list)
    columns: Mapping[str, float] = field(default_factory=dict)
    last_turn: str = ""
    goes_on: bool = True
    ended: bool = False
    """True: the environment ended it."""
    was_cut: bool = False
    """True: the length limit cut one of the policy's turns."""
    closed: bool = False
    """True: the policy ended its last turn itself."""

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
        self.kept.append(sampled.kept)
        self.turns.append(Message("assistant", words))
        self.closed = sampled.finish_reason == "stop"
        self.was_cut |= not self.closed

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
        kept = [one for one in self.kept if one is not None]
        return Episode(
            prompt=self.prompt,
            prompt_ids=self.prompt_ids,
            token_ids=tuple(self.token_ids),
            logps=tuple(self.logps),
            text=shown_turns(self.turns) if len(self.turns) > 1 else self.turns[0].content,
            finished=self.ended and not self.was_cut,
            terminal=self.ended,
            closed=self.closed,
            written=tuple(self.written),
            states=torch.cat(states) if len(states) == len(self.states) else None,
            kept=KeptTokens.joined(kept) if len(kept) == len(self.kept) else None,
            turns=tuple(self.turns),
            last_turn=self.last_turn,
            rewards=tuple(self.rewards),
            columns={NUM_TURNS: float((len(self.turns) + 1) // 2), **self.columns},
        )
