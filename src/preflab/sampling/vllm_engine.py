"""The vLLM engine: samples from a vLLM server in an environment and a process of its own (docs/how-to/vllm.md).

The server gets the policy's weights with every `sync`. A fixed probe sequence is then scored by both sides, and old,
empty or wrongly scaled weights raise an error before a token is sampled. Every completion is checked for the version
that wrote it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from preflab.errors import PreflabError
from preflab.models.precision import without_gradients
from preflab.models.vocabulary import Vocabulary, fitting_vocabulary
from preflab.sampling.vllm_client import Answer, VllmClient
from preflab.sampling.vllm_probe import HOW_TO_GO_ON, MOST_ROUNDING, Probe, Reading
from preflab.sampling.vllm_weights import ServedWeights, check_can_be_served
from preflab.settings.sampling import DecodingSettings
from preflab.training.kept_tokens import KeptTokens
from preflab.training.protocols import SampledCompletion, SampleRequest

if TYPE_CHECKING:
    from preflab.sampling.engine_source import EngineSource

PROBE_TOKENS = 32
"""Tokens of the probe sequence."""
MOST_BIASED = 1024
"""Most ids that vLLM's sampler can exclude in one request."""
EXCLUDED = -100.0
"""Added to the logit of an id that does not exist: the lowest value vLLM accepts; e^−100 never wins a draw."""
SLEEPS = "start the server with `preflab serve-engine MODEL --sleep`"
MOST_TEMPERATURE = 2.0
"""vLLM refuses a higher temperature."""


class VllmEngine:
    """Samples from a server that is given the policy's weights.

    Args:
        source: the policy, and the server's address.

    Raises:
        PreflabError: vLLM cannot serve the policy, there is no server, or it holds another model.
    """

    exact = False
    """The server's kernels and number format round differently from the trainer's."""
    gives_masks = True
    """A server started with `--sampling-masks` does; a completion without masks is refused where they are needed."""

    def __init__(self, source: EngineSource) -> None:
        check_can_be_served(source)
        self.source, self.settings, self.version = source, source.server, 0
        self.client = VllmClient(source.server.url, source.server.timeout_s)
        served = self.client.served()
        self.base, self.longest = served["id"], served["max_model_len"]
        self.reports_versions = self.client.reports_versions
        self.vocabulary = fitting_vocabulary(source.model, source.tokenizer)
        self.excluded = _ids_without_token(source.model, self.vocabulary)
        self.probe_ids = _probe_ids(source, self.longest)
        self.weights = ServedWeights(self.client, source, self.base)
        self._wake()
        if not self.weights.with_adapter:
            self.weights.push(0)  # the server may hold the weights of an earlier run
        elif self._read_base().difference > MOST_ROUNDING and self.reports_versions and not self._adapter_differs():
            self.weights.push_base()  # an earlier stage, or another run, has replaced all weights
        self.probe = Probe(self._read_base())
        self.sync(0)

    def sync(self, version: int) -> None:
        """Give the server the policy's current weights, and compare the probe's log-probabilities with the trainer's.

        Raises:
            PreflabError: the server refuses the weights, or does not hold them afterwards.
        """
        self._wake()
        self.weights.push(version)
        self.version = version
        if self.reports_versions:
            self.client.name_version(self.weights.name_of(version))
        server = self.client.prompt_logps(self.weights.model, self.probe_ids)
        self.probe.check(version, Reading.of(server, self._trainer_logps(with_adapter=True)))

    def release(self) -> None:
        """Put the server to sleep if the settings say so; its weights then wait in main memory."""
        if self.settings.sleep:
            self.client.post("/sleep?level=1", None, SLEEPS)

    def sample(
        self,
        requests: Sequence[SampleRequest],
        decoding: DecodingSettings,
        *,
        on_done: Callable[[int], None] | None = None,
    ) -> list[SampledCompletion]:
        """Sample one completion per request, in the order of the requests.

        `decoding.max_batch_rows` requests are sent at a time; the server decides how many it decodes together.

        Raises:
            PreflabError: a request does not fit the server's context, the server refuses it, or a completion was
                written by other weights, has an id that does not exist, or lacks the sampling masks that are needed.
        """
        self._refuse_what_does_not_fit(requests, decoding)
        parameters = self._parameters(decoding)
        completions: list[SampledCompletion | None] = [None] * len(requests)
        with ThreadPoolExecutor(max(1, min(decoding.max_batch_rows, len(requests)))) as pool:
            places = {
                pool.submit(
                    self.client.sample, self.weights.model, request.prompt_ids, {**parameters, "seed": request.seed}
                ): place
                for place, request in enumerate(requests)
            }
            try:
                for future in as_completed(places):
                    completions[places[future]] = self._completion(future.result(), decoding)
                    if on_done is not None:
                        on_done(1)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return [one for one in completions if one is not None]

    def close(self) -> None:
        """Remove the adapter from the server, and the files in shared memory."""
        self.weights.close()

    def _parameters(self, decoding: DecodingSettings) -> dict[str, Any]:
        """vLLM's sampling parameters; only the seed differs between requests."""
        stops = list(decoding.stop_token_ids or self.source.stop_token_ids)
        parameters: dict[str, Any] = {
            "temperature": decoding.temperature,
            "top_p": decoding.top_p,
            "top_k": decoding.top_k,
            "min_p": decoding.min_p,
            "max_tokens": decoding.max_new_tokens,
            "stop_token_ids": stops,
            "ignore_eos": True,  # the stop tokens of the recipe alone end a completion
            "detokenize": bool(decoding.stop_strings),
        }
        if decoding.stop_strings:
            parameters |= {"stop": list(decoding.stop_strings), "skip_special_tokens": False}
        if self.excluded:
            parameters["logit_bias"] = {str(token): EXCLUDED for token in self.excluded}
        return parameters

    def _completion(self, answer: Answer, decoding: DecodingSettings) -> SampledCompletion:
        self._check_version(answer)
        wrong = [token for token in answer.token_ids if not self._exists(token)]
        if wrong or not answer.token_ids:
            raise PreflabError(
                f"the server drew the token {wrong[0]}" if wrong else "the server's completion has no token",
                "at least one token, all of them ids of the tokenizer",
                HOW_TO_GO_ON,
            )
        logps = answer.logps if decoding.temperature > 0 else (0.0,) * len(answer.token_ids)
        reason: Literal["stop", "length"] = "stop" if answer.finish_reason == "stop" else "length"
        return SampledCompletion(answer.token_ids, logps, reason, self.version, kept=self._kept(answer, decoding))

    def _kept(self, answer: Answer, decoding: DecodingSettings) -> KeptTokens | None:
        if not self.source.keep_masks or not decoding.truncated:
            return None
        if answer.kept is None:
            raise PreflabError(
                "a completion of truncated sampling without sampling masks",
                "the ids that each token was drawn from; without them the probability ratio is biased",
                "start the server with `preflab serve-engine MODEL --sampling-masks`, which needs a GPU; or set "
                "top_k 0, top_p 1 and min_p 0, or engine: transformers",
            )
        kept = KeptTokens.of([[token for token in row if self._exists(token)] for row in answer.kept])
        kept.check(answer.token_ids)
        return kept

    def _exists(self, token: int) -> bool:
        known = self.vocabulary
        return known is None or (token < known.num_ids and token not in known.holes)

    def _check_version(self, answer: Answer) -> None:
        expected = self.weights.name_of(self.version)
        other = [one for one in answer.versions if self.reports_versions and one != expected]
        if answer.model != self.weights.model or other:
            raise PreflabError(
                f"a completion by {answer.model}, weights {', '.join(other) or 'unknown'}",
                f"{self.weights.model}, weights {expected}: those of version {self.version}",
                "use one server per run; " + HOW_TO_GO_ON,
            )

    def _refuse_what_does_not_fit(self, requests: Sequence[SampleRequest], decoding: DecodingSettings) -> None:
        if decoding.temperature > MOST_TEMPERATURE:
            raise PreflabError(
                f"decoding.temperature {decoding.temperature}", f"at most {MOST_TEMPERATURE} with vLLM", "lower it"
            )
        for number, request in enumerate(requests):
            length = len(request.prompt_ids)
            if length == 0 or length + decoding.max_new_tokens > self.longest:
                raise PreflabError(
                    f"request {number}: {length} prompt tokens and {decoding.max_new_tokens} new ones",
                    f"at least one prompt token, and together at most {self.longest}, the server's context",
                    "shorten the prompt, lower max_new_tokens, or start the server with a larger --max-length",
                )

    def _wake(self) -> None:
        """Wake the server, which `release` of this or an earlier run may have put to sleep."""
        if self.settings.sleep:
            self.client.post("/wake_up", None, SLEEPS)

    def _read_base(self) -> Reading:
        """The probe without adapters."""
        server = self.client.prompt_logps(self.base, self.probe_ids)
        return Reading.of(server, self._trainer_logps(with_adapter=False))

    def _adapter_differs(self) -> bool:
        """Whether the policy's adapter already changes the model; a new one does not."""
        return self._trainer_logps(with_adapter=True) != self._trainer_logps(with_adapter=False)

    def _trainer_logps(self, *, with_adapter: bool) -> list[float]:
        """Log-probabilities of the probe's tokens but the first by the trainer, over all rows of its head."""
        trunk, model = self.source.trunk, self.source.model
        role = (
            nullcontext() if trunk is None else trunk.role("policy" if with_adapter or not trunk.lora else "reference")
        )
        ids = torch.tensor([self.probe_ids], device=model.device)
        with role, without_gradients(model):
            logps = model(input_ids=ids, use_cache=False).logits[0].float().log_softmax(-1)
        targets = ids[0, 1:, None]
        return [float(value) for value in logps[:-1].gather(-1, targets)[:, 0]]


def _ids_without_token(model: Any, vocabulary: Vocabulary | None) -> tuple[int, ...]:
    """Ids of the model's head that belong to no token.

    Raises:
        PreflabError: there are more than vLLM can exclude.
    """
    if vocabulary is None:
        return ()
    num_rows = int(model.config.get_text_config().vocab_size)
    ids = (*vocabulary.holes, *range(vocabulary.num_ids, num_rows))
    if len(ids) > MOST_BIASED:
        raise PreflabError(
            f"{len(ids)} rows of the model's head belong to no token",
            f"at most {MOST_BIASED}, which vLLM can exclude from sampling",
            "resize the embedding to the tokenizer, or set device.engine to transformers",
        )
    return ids


def _probe_ids(source: EngineSource, longest: int) -> list[int]:
    """A fixed sequence of random ids without special tokens."""
    num_ids = int(source.model.config.get_text_config().vocab_size)
    vocabulary = Vocabulary.of(source.tokenizer)
    known = range(num_ids) if vocabulary is None else range(min(vocabulary.num_ids, num_ids))
    special = {*getattr(source.tokenizer, "all_special_ids", ()), *(vocabulary.holes if vocabulary else ())}
    usable = [token for token in known if token not in special] or list(known)
    draws = np.random.Generator(np.random.Philox(key=0)).integers(len(usable), size=min(PROBE_TOKENS, longest - 1))
    return [usable[place] for place in draws]
