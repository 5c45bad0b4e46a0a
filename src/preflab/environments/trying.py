"""Tries an environment without a model: plays episodes with turns at random and checks the contract."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from preflab.environments.loading import EnvironmentSource, check_columns
from preflab.environments.protocol import Environment, Reply
from preflab.errors import PreflabError
from preflab.messages import Message
from preflab.records import Prompt
from preflab.seeds import derive_seed
from preflab.words import count

First = str | Sequence[Message] | None


@dataclass
class Trial:
    """An episode that was played with random turns."""

    first: str
    """The first turn that the policy reads, as text."""
    turns: list[tuple[str, Reply]] = field(default_factory=list)
    """Each turn of the policy with the reply to it."""

    @property
    def reward(self) -> float:
        """Sum of the rewards of its turns."""
        return sum(reply.reward for _, reply in self.turns)

    @property
    def columns(self) -> Mapping[str, float]:
        """The columns of the last reply."""
        return self.turns[-1][1].columns

    def shown(self) -> str:
        """The dialogue, one turn a line, with the rewards."""
        lines = [f"environment: {self.first.strip()}"]
        for words, reply in self.turns:
            lines += [f"policy:      {words.strip()}    (reward {reply.reward:g})"]
            lines += [f"environment: {reply.turn.strip()}"] if reply.turn is not None else []
        return "\n".join(lines)


def try_environment(
    source: EnvironmentSource, *, says: Sequence[str] = (), num_episodes: int = 100, max_turns: int = 8, seed: int = 0
) -> list[Trial]:
    """Play episodes in which the policy's turns are drawn, and check each reply.

    A turn is drawn from `says`; without it, it is the empty text or up to three words that the environment has used.
    Every episode is played twice with the same turns, because equal seeds must give equal episodes.

    Raises:
        PreflabError: the environment raises, returns something else than its contract says, or draws from another
            source of randomness than its seed.
    """
    prompts, rng = source.prompts(), random.Random(f"try {seed}")
    words = {word: None for prompt in prompts for word in prompt.text.split()}
    trials = []
    for number in range(num_episodes):
        prompt, start = prompts[number % len(prompts)], derive_seed(seed, "try", number)
        place = f"episode {number}"
        trial = _play(source, prompt, start, place, [_draw(rng, says, list(words)) for _ in range(max_turns)])
        again = _play(source, prompt, start, place, [words for words, _ in trial.turns])
        if again != trial:
            raise PreflabError(
                f"{source.name}, {place}: two episodes with the same prompt, seed and turns differ",
                "equal episodes: a GRPO group compares completions from one start",
                "draw from random.Random(seed) in `reset`, keep no state outside of the object, and read no clock",
            )
        words |= dict.fromkeys(word for _, reply in trial.turns for word in (reply.turn or "").split())
        trials.append(trial)
    check_columns([trial.columns for trial in trials], source.name)
    return trials


def notes_on(trials: Sequence[Trial]) -> list[str]:
    """Notes on episodes that keep the contract but hinder learning; [] if there are none."""
    num, cut = len(trials), sum(not trial.turns[-1][1].end for trial in trials)
    notes = [f"{count(cut, 'episode')} of {num} did not end within max_turns: they are cut"] if cut else []
    if num > 1 and len({trial.reward for trial in trials}) == 1:
        notes.append(
            f"all {num} episodes have the reward {trials[0].reward:g}: if the policy's episodes are all equal, too, "
            "nothing is learned; give part of the reward for a part of the task, or start from demonstrations"
        )
    return notes


def _draw(rng: random.Random, says: Sequence[str], words: Sequence[str]) -> str:
    if says:
        return rng.choice(says)
    return " ".join(rng.choice(words) for _ in range(rng.randrange(4) if words else 0))


def _play(source: EnvironmentSource, prompt: Prompt, start: int, place: str, says: Sequence[str]) -> Trial:
    environment: Environment = source.start(place)
    trial = Trial(_text(prompt, source.reset(environment, prompt, start, place)))
    for turn, words in enumerate(says, 1):
        reply = source.step(environment, words, f"{place}, turn {turn}")
        trial.turns.append((words, reply))
        if reply.end:
            break
    return trial


def _text(prompt: Prompt, first: First) -> str:
    if first is None:
        return prompt.text
    return first if isinstance(first, str) else "\n".join(turn.shown for turn in first)
