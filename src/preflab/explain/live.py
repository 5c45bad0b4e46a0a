"""Writes new text for the simulator's page: one completion at a time, token by token, then its scores.

A request is {"prompt": id, "run": name, "alpha", "seed"}; `alpha` is the run's KL coefficient divided by the one asked
for. The answer is a sequence of events:

{"kind": "token", "text", "logp", "log_ratio"}    log_ratio = log π_α / π_ref, nats
{"kind": "end", "finish_reason", "num_tokens", "log_ratio": its sum, "reward", "terms": {name: score without weight},
 "criteria": {name: score, null for an F}}
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from preflab.errors import PreflabError
from preflab.explain.realign import MOST, Ended, Realigner, WrittenToken, check_alpha
from preflab.models.language_model import LanguageModel
from preflab.records import Prompt
from preflab.settings.sampling import DecodingSettings
from preflab.training.protocols import ScoringItem

MOST_SEED = 2**53
"""Seeds are whole numbers below this: JavaScript has no larger ones."""


@dataclass(frozen=True)
class LiveRun:
    """A run that can be mixed with the reference."""

    name: str
    kl_coef: float
    """Its β, reward units per nat."""


@dataclass(frozen=True)
class Scored:
    """The scores of a completion."""

    reward: float
    """The weighted sum of the terms."""
    terms: Mapping[str, float]
    criteria: Mapping[str, float | None]


@dataclass(frozen=True)
class Wanted:
    """A checked request."""

    prompt: Prompt
    run: str
    alpha: float
    seed: int


class Live:
    """The models, prompts and scores behind the page.

    Args:
        reference: the reference model.
        open_run: opens the model of a run by its name.
        runs: the runs that can be asked for.
        prompts: the page's prompts.
        decoding: how completions are sampled.
        score: scores one completion with the rewards and criteria of the page.
    """

    def __init__(
        self,
        reference: LanguageModel,
        open_run: Callable[[str], LanguageModel],
        runs: Sequence[LiveRun],
        prompts: Sequence[Prompt],
        decoding: DecodingSettings,
        score: Callable[[ScoringItem], Scored],
    ) -> None:
        self.reference, self.open_run, self.runs = reference, open_run, tuple(runs)
        self.prompts = {prompt.id: prompt for prompt in prompts}
        self.decoding, self.score = decoding, score
        self.renderer = reference.renderer(decoding.stop_token_ids)
        self.opened: tuple[str, Realigner] | None = None

    def page_facts(self, url: str, token: str) -> dict[str, Any]:
        """The facts that the page needs to ask for text."""
        runs = [asdict(run) for run in self.runs]
        return {"url": url, "token": token, "runs": runs, "most": MOST}

    def check(self, request: Any) -> Wanted:
        """A request, checked.

        Raises:
            PreflabError: a key is missing or of the wrong type, the prompt or the run is unknown, or α is out of range.
        """
        keys = ("prompt", "run", "alpha", "seed")
        if not isinstance(request, dict) or set(request) != set(keys):
            raise PreflabError("a request with other keys", f"the keys {', '.join(keys)}", "reload the page")
        prompt, run, alpha, seed = (request[key] for key in keys)
        if not isinstance(prompt, str) or prompt not in self.prompts:
            raise PreflabError("an unknown prompt", "a prompt of the page", "reload the page")
        if run not in [each.name for each in self.runs]:
            raise PreflabError(
                "an unknown run", f"one of {', '.join(each.name for each in self.runs)}", "reload the page"
            )
        if isinstance(alpha, bool) or not isinstance(alpha, int | float):
            raise PreflabError("an α that is no number", f"a number from 0 to {MOST:g}", "reload the page")
        alpha = float(min(alpha, 2 * MOST))  # a whole number may be too large for a float
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < MOST_SEED:
            raise PreflabError("a seed that is no whole number", f"a number from 0 to {MOST_SEED - 1}", "reload")
        return Wanted(self.prompts[prompt], run, check_alpha(alpha), seed)

    def write(self, wanted: Wanted) -> Iterator[dict[str, Any]]:
        """The events of one completion.

        Raises:
            PreflabError: the prompt leaves no room for a completion, or a reward gives no number.
        """
        ids, prompt = self.renderer.prompt_ids(wanted.prompt), wanted.prompt
        log_ratio = 0.0
        for each in self._realigner(wanted.run).write(
            ids, wanted.alpha, wanted.seed, self.decoding, lambda written: self.renderer.text(prompt, written)
        ):
            if isinstance(each, WrittenToken):
                log_ratio += each.log_ratio
                yield {"kind": "token", "text": each.text, "logp": each.logp, "log_ratio": each.log_ratio}
            else:
                yield self._end(prompt, ids, each, log_ratio)

    def _end(self, prompt: Prompt, ids: tuple[int, ...], ended: Ended, log_ratio: float) -> dict[str, Any]:
        text = self.renderer.text(prompt, ended.token_ids)
        scored = self._scored(ScoringItem(prompt, text, ids, ended.token_ids, ended.finish_reason))
        return {
            "kind": "end",
            "finish_reason": ended.finish_reason,
            "num_tokens": len(ended.token_ids),
            "log_ratio": log_ratio,
            "reward": scored.reward,
            "terms": dict(scored.terms),
            "criteria": dict(scored.criteria),
        }

    def _scored(self, item: ScoringItem) -> Scored:
        try:
            return self.score(item)
        except PreflabError:
            raise
        except Exception as error:  # of a function of the user's
            raise PreflabError(
                f"scoring it failed ({type(error).__name__}: {error})",
                "a score, or None",
                "Correct the reward or the judge that raised it",
            ) from error

    def _realigner(self, run: str) -> Realigner:
        """Reference and run; the run that was used last stays in memory."""
        if self.opened is None or self.opened[0] != run:
            self.opened = None
            longest = max(len(self.renderer.prompt_ids(prompt)) for prompt in self.prompts.values())
            realigner = Realigner(self.reference, self.open_run(run), longest + self.decoding.max_new_tokens)
            self.opened = (run, realigner)
        return self.opened[1]
