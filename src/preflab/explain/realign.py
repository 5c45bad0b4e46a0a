"""Decoding-time realignment: text of a policy that nobody trained, from a reference and a run, mixed in the logits.

    log π_α(v | s) = (1 − α) · log π_ref(v | s) + α · log π_run(v | s) − log Z(s)

α = β of the run / β asked for (Liu et al. 2024, "Decoding-time Realignment of Language Models"). If the run is the
optimum π_ref · exp(r / β), then π_ref^(1−α) · π_run^α ∝ π_ref · exp(α r / β) is the optimum at β / α. That holds for
whole completions. Token by token it is an approximation: Z(s) is not 1, and leaving it out drops what the optimum knows
about the rest of the completion. It is exact for completions of one token, and at α = 0 and α = 1.

α = 0 gives the reference and α = 1 the run, token for token, as the sampler draws them with the same seed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from preflab.errors import PreflabError
from preflab.models.language_model import LanguageModel
from preflab.models.precision import without_gradients
from preflab.models.rotary import RowLengths
from preflab.models.vocabulary import Vocabulary, fitting_vocabulary
from preflab.sampling.draw import draw, exact_dtype
from preflab.sampling.pass_choice import fitting_pass
from preflab.sampling.randomness import uniforms
from preflab.sampling.stops import StopStrings, stop_table
from preflab.sampling.time_steps import limited_time_steps
from preflab.settings.sampling import DecodingSettings
from preflab.words import number

MOST = 10.0
"""The largest α: a penalty ten times smaller than that of the run. Further out the mixture amplifies noise."""
INCOMPLETE = "\ufffd"
"""The mark with which a tokenizer decodes the first bytes of a letter."""


@dataclass(frozen=True)
class WrittenToken:
    """One token of a realigned completion."""

    id: int
    text: str
    """The text that it adds; "" while a letter is incomplete."""
    logp: float
    """log π_α, nats."""
    ref_logp: float
    """log π_ref, nats."""

    @property
    def log_ratio(self) -> float:
        """log π_α / π_ref: how much more likely the mixture makes it than the reference does."""
        return self.logp - self.ref_logp


@dataclass(frozen=True)
class Ended:
    """The end of a completion."""

    token_ids: tuple[int, ...]
    finish_reason: Literal["stop", "length"]


def check_alpha(alpha: float) -> float:
    """α, if it is between 0 and `MOST`.

    Raises:
        PreflabError: it is outside.
    """
    if not 0 <= alpha <= MOST:
        raise PreflabError(
            f"α = {number(alpha)} (the run's KL penalty divided by the one asked for)",
            f"a number from 0, the reference, over 1, the run, to {number(MOST)}",
            "choose a larger KL penalty",
        )
    return alpha


def mix_logits(reference: Tensor, run: Tensor, alpha: float) -> Tensor:
    """(1 − α) · reference + α · run, (B, V) float32; exactly one of the two at α = 0 and α = 1.

    Logits may differ from log-probabilities by a constant, which falls out when the mixture is normalised. A token that
    one of the two excludes (−inf) is excluded.
    """
    if alpha in (0, 1):
        return run if alpha else reference
    mixed = (1 - alpha) * reference.float() + alpha * run.float()
    excluded = torch.isneginf(reference) | torch.isneginf(run)
    return mixed.masked_fill(excluded, -torch.inf)


class Realigner:
    """Writes completions of the mixture of two models with one vocabulary.

    Args:
        reference: the model at α = 0.
        run: the model at α = 1.
        longest: tokens of the longest prompt and completion, for which rotary frequencies that depend on the length
            are fixed; 0: those of each completion by itself.

    Raises:
        PreflabError: the two have different vocabularies.
    """

    def __init__(self, reference: LanguageModel, run: LanguageModel, longest: int = 0) -> None:
        if reference.tokenizer.get_vocab() != run.tokenizer.get_vocab():
            raise PreflabError(
                f"{run.place}: another vocabulary than {reference.place}",
                "a run with the tokenizer of its reference",
                "name the model that the run started from",
            )
        self.reference, self.run = reference, run
        self.vocabulary: Vocabulary | None = fitting_vocabulary(reference.model, reference.tokenizer)
        self.rows = RowLengths([reference.model, run.model])
        if self.rows and longest:
            self.rows.fix(longest)
        elif self.rows:
            self.rows.use(1)
        pad_id = int(reference.tokenizer.pad_token_id)
        self.feeds = (Feed(reference.model, pad_id), Feed(run.model, pad_id))

    def write(
        self,
        prompt_ids: tuple[int, ...],
        alpha: float,
        seed: int,
        decoding: DecodingSettings,
        decode: Callable[[Sequence[int]], str],
    ) -> Iterator[WrittenToken | Ended]:
        """One completion, token by token, then its end.

        Args:
            prompt_ids: the prompt.
            alpha: the share of the run in the logits.
            seed: the randomness, as of `SampleRequest.seed`.
            decoding: temperature and ends; the distribution must not be truncated.
            decode: the text of the tokens of the completion so far.

        Raises:
            PreflabError: α is outside 0 to `MOST`, or the prompt leaves no room for the completion.
        """
        check_alpha(alpha)
        if self.reference.limits().room(len(prompt_ids)) < decoding.max_new_tokens:
            raise PreflabError(
                f"{len(prompt_ids)} prompt tokens and {decoding.max_new_tokens} new ones",
                f"{self.reference.limits().with_room()}, the model's context",
                "choose a shorter prompt",
            )
        stops = decoding.stop_token_ids or self.run.renderer().stop_token_ids
        size = self.reference.model.config.get_text_config().vocab_size
        table = stop_table(stops, size, self.reference.model.device)
        strings = StopStrings(self.reference.tokenizer, decoding.stop_strings)
        if self.rows and self.rows.longest is None:
            self.rows.use(len(prompt_ids) + decoding.max_new_tokens)
        try:
            yield from decode_mixture(
                self.feeds, prompt_ids, alpha, seed, decoding,
                ends=lambda ids: _ends(ids, table, strings), decode=decode, cut=self._cut,
            )  # fmt: skip
        finally:
            for feed in self.feeds:
                feed.release()

    def _cut(self, logits: Tensor) -> Tensor:
        return logits if self.vocabulary is None else self.vocabulary.cut_logits(logits)


class Feeds(Protocol):
    """Gives logits after a prompt, and after each further token."""

    def start(self, prompt_ids: tuple[int, ...]) -> Tensor:
        """(1, V) logits after the prompt."""

    def step(self, token: Tensor) -> Tensor:
        """(1, V) logits after one more token (1,)."""


class Feed:
    """A model that is fed one completion, in the way that reproduces its own logits (`sampling.pass_choice`)."""

    def __init__(self, model: Any, pad_id: int) -> None:
        self.model = model
        with self._computing():
            self.way = fitting_pass(model, pad_id)

    def start(self, prompt_ids: tuple[int, ...]) -> Tensor:
        """(1, V) logits after the prompt."""
        with self._computing():
            return self.way.start([prompt_ids], torch.zeros(1, dtype=torch.long, device=self.model.device))

    def step(self, token: Tensor) -> Tensor:
        """(1, V) logits after one more token (1,)."""
        with self._computing():
            return self.way.step(token)

    def release(self) -> None:
        """Free the cache."""
        self.way.release()

    @contextmanager
    def _computing(self) -> Iterator[None]:
        # Only around each pass, so that a completion can be abandoned anywhere and read in any thread.
        with limited_time_steps(self.model), without_gradients(self.model):
            yield


def decode_mixture(
    feeds: tuple[Feeds, Feeds],
    prompt_ids: tuple[int, ...],
    alpha: float,
    seed: int,
    decoding: DecodingSettings,
    *,
    ends: Callable[[Sequence[int]], bool],
    decode: Callable[[Sequence[int]], str],
    cut: Callable[[Tensor], Tensor] = lambda logits: logits,
) -> Iterator[WrittenToken | Ended]:
    """Feed both models the same tokens, and draw each from the mixture of their logits.

    Args:
        feeds: the reference and the run.
        prompt_ids: the prompt.
        alpha: the share of the run.
        seed: the randomness.
        decoding: temperature and length.
        ends: whether a completion of these tokens ends here.
        decode: the text of the tokens so far.
        cut: leaves of logits those that the tokenizer has.
    """
    noise = uniforms([seed], decoding.max_new_tokens)
    logits = [cut(feed.start(prompt_ids)) for feed in feeds]
    noise = noise.to(exact_dtype(logits[0].device)).to(logits[0].device)
    written: list[int] = []
    shown = ""
    for t in range(decoding.max_new_tokens):
        mixed = mix_logits(logits[0], logits[1], alpha)
        tokens, logps = draw(mixed, noise[:, t], temperature=decoding.temperature)
        ref_logps = _log_probabilities(logits[0], decoding.temperature)
        written.append(int(tokens[0]))
        text = decode(written)
        new = "" if text.endswith(INCOMPLETE) or not text.startswith(shown) else text[len(shown) :]
        shown += new
        yield WrittenToken(written[-1], new, float(logps[0]), float(ref_logps[0, written[-1]]))
        if ends(written):
            yield Ended(tuple(written), "stop")
            return
        if t + 1 < decoding.max_new_tokens:
            logits = [cut(feed.step(tokens)) for feed in feeds]
    yield Ended(tuple(written), "length")


def _log_probabilities(logits: Tensor, temperature: float) -> Tensor:
    return torch.log_softmax(logits.float() / (temperature or 1.0), -1)


def _ends(ids: Sequence[int], table: Tensor, strings: StopStrings) -> bool:
    if bool(table[ids[-1]]):
        return True
    return bool(strings) and bool(strings.completed(torch.tensor(ids)[:, None])[0])
