"""The transformers engine: preflab's own decode loop over any causal language model.

B rows decoded side by side, T tokens at most, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from preflab.errors import PreflabError
from preflab.models.facts import context_length
from preflab.models.packed import packed_linear
from preflab.models.precision import computing_dtype, without_gradients
from preflab.models.rotary import RowLengths
from preflab.models.vocabulary import Vocabulary, fitting_vocabulary
from preflab.sampling.draw import draw, exact_dtype
from preflab.sampling.pass_choice import fitting_pass
from preflab.sampling.passes import Pass, moved
from preflab.sampling.randomness import uniforms
from preflab.sampling.stops import StopStrings, stop_table
from preflab.sampling.time_steps import limited_time_steps
from preflab.settings.sampling import DecodingSettings
from preflab.training.protocols import SampledCompletion, SampleRequest

# Finished rows are dropped once no more than this share still writes; 0.85 to 0.99 measured alike, 0.5 10 % slower.
RETIRE_AT = 0.9

MAX_STATES = 2**28
"""Bytes of states that one call may keep; for a moment they take twice that."""


class TransformersEngine:
    """Samples from a `PreTrainedModel` as it stands, adapters included.

    Equal prompts share one prefill, finished rows are retired, and each request draws from its own seed: what is
    sampled does not depend on what shares the batch, up to draws that fall within rounding of a boundary.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        pad_id: int,
        stop_token_ids: Sequence[int],
        tokenizer: PreTrainedTokenizerBase | None = None,
        role: Callable[[], AbstractContextManager[object]] = nullcontext,
        keep_states: bool = False,
    ) -> None:
        """
        Args:
            model: the language model to decode with.
            pad_id: fills the left of shorter prompts; always masked, so any id of the vocabulary will do.
            stop_token_ids: end a completion where the decoding settings name none.
            tokenizer: its ids are the ones drawn from, and its text is what stop strings are looked for in; None: every
                row of the embedding is an id, and there are no stop strings.
            role: a context in which the model is the one to sample from (`trunk.role("policy")`).
            keep_states: whether completions carry the states their tokens were drawn from, in float32 and as long as
                those of one call fit in `MAX_STATES`.

        Raises:
            PreflabError: the tokenizer has an id beyond the embedding.
        """
        self.vocabulary = None if tokenizer is None else fitting_vocabulary(model, tokenizer)
        self.row_lengths = RowLengths([model])
        self.model, self.pad_id, self.tokenizer = model, pad_id, tokenizer
        self.stop_token_ids = tuple(stop_token_ids)
        self.role, self.keep_states, self.version = role, keep_states, 0
        self._pass: Pass | None = None

    @property
    def exact(self) -> bool:
        """Whether its log-probabilities are those of the trainer's pass but for rounding of float32."""
        with self.role():
            return computing_dtype(self.model) == torch.float32

    def sync(self, version: int) -> None:
        """Note the version; there are no weights to copy, since it decodes with the very module that learns."""
        self.version = version

    def release(self) -> None:
        """Do nothing: each call of `sample` frees its own cache."""

    def sample(
        self,
        requests: Sequence[SampleRequest],
        decoding: DecodingSettings,
        *,
        on_done: Callable[[int], None] | None = None,
    ) -> list[SampledCompletion]:
        """One completion per request, in the order of the requests; `on_done(n)` is told of n more finished ones.

        Raises:
            PreflabError: a prompt is empty, or with max_new_tokens longer than the model's context.
        """
        self._refuse_what_does_not_fit(requests, decoding)
        stop_ids = decoding.stop_token_ids or self.stop_token_ids
        table = stop_table(stop_ids, self.model.config.get_text_config().vocab_size, self.model.device)
        strings = StopStrings(self.tokenizer, decoding.stop_strings)
        by_request: dict[int, SampledCompletion] = {}
        head = packed_linear(self.model.get_output_embeddings(), min(len(requests), decoding.max_batch_rows))
        with _decoding(self.model), self.role(), without_gradients(self.model), head:
            forward = self._fitting_pass()
            for batch in self._batches(requests, decoding, mixed_lengths=forward.pads):
                rows = _Rows([requests[i] for i in batch], decoding, table, strings)
                with self._watching(rows, len(requests)):
                    _decode(forward, rows, decoding, self.vocabulary, on_done)
                by_request.update(zip(batch, rows.completions(self.version), strict=True))
            forward.release()
        return [by_request[i] for i in range(len(requests))]

    @property
    def decode_path(self) -> str:
        """How the model is fed, found out where that is not known yet: see the passes of `sampling.passes`."""
        with _decoding(self.model), self.role(), without_gradients(self.model):
            return self._fitting_pass().name

    def _fitting_pass(self) -> Pass:
        if self._pass is None:
            if self.row_lengths.longest is None:
                self.row_lengths.use(1)
            with torch.autocast(self.model.device.type, enabled=False):  # compared in the type of the weights
                self._pass = fitting_pass(self.model, self.pad_id)
        return self._pass

    def _batches(
        self, requests: Sequence[SampleRequest], decoding: DecodingSettings, *, mixed_lengths: bool
    ) -> Iterator[list[int]]:
        """Request numbers by batch; where nobody has fixed frequencies that depend on the length, apart by length."""
        longest = [len(request.prompt_ids) + decoding.max_new_tokens for request in requests]
        for group in self.row_lengths.groups(longest):
            if self.row_lengths.longest is None:
                self.row_lengths.use(max((longest[i] for i in group), default=1))
            for batch in _batches([requests[i] for i in group], decoding.max_batch_rows, mixed_lengths=mixed_lengths):
                yield [group[i] for i in batch]

    @contextmanager
    def _watching(self, rows: _Rows, num_requests: int) -> Iterator[None]:
        """Let the rows keep what the model's head is given."""
        config, head = self.model.config.get_text_config(), self.model.get_output_embeddings()
        size = num_requests * len(rows.tokens) * getattr(config, "hidden_size", 0) * self.model.dtype.itemsize
        # In half precision the rounding between two ways to one state would be taken for a KL, which is never negative.
        if not self.keep_states or computing_dtype(self.model) != torch.float32 or not 0 < size <= MAX_STATES:
            yield
            return
        hook = head.register_forward_pre_hook(lambda _, given: rows.see(given[0]) if given else None)
        try:
            yield
        finally:
            hook.remove()

    def _refuse_what_does_not_fit(self, requests: Sequence[SampleRequest], decoding: DecodingSettings) -> None:
        context, fixed = context_length(self.model.config), self.row_lengths.longest
        for number, request in enumerate(requests):
            length = len(request.prompt_ids)
            if length == 0:
                raise PreflabError(
                    f"request {number}: a prompt without tokens",
                    "at least one token (a BOS token counts)",
                    "give the prompt a text, or use a tokenizer that adds a BOS token",
                )
            if context and length + decoding.max_new_tokens > context:
                raise PreflabError(
                    f"request {number}: {length} prompt tokens and {decoding.max_new_tokens} new ones",
                    f"together at most {context}, the model's context",
                    "shorten the prompt or lower max_new_tokens",
                )
            if fixed and length + decoding.max_new_tokens > fixed:
                raise PreflabError(
                    f"request {number}: {length} prompt tokens and {decoding.max_new_tokens} new ones",
                    f"together at most {fixed}, for which rotary frequencies are fixed",
                    "fix them for the longest prompt and max_new_tokens",
                )


class _Rows:
    """What the rows of a batch have written so far, and which of them are still being decoded."""

    def __init__(
        self,
        requests: Sequence[SampleRequest],
        decoding: DecodingSettings,
        stops: torch.Tensor,
        strings: StopStrings,
    ) -> None:
        device, num_tokens = stops.device, decoding.max_new_tokens
        self.stops, self.strings = stops, strings
        distinct = dict.fromkeys(request.prompt_ids for request in requests)
        places = {prompt: place for place, prompt in enumerate(distinct)}
        self.prompts = list(distinct)
        self.prompt_of_row = torch.tensor([places[request.prompt_ids] for request in requests], device=device)
        drawn = uniforms([request.seed for request in requests], num_tokens).T
        self.uniforms = drawn.to(exact_dtype(device)).contiguous().to(device)
        self.tokens = torch.zeros(num_tokens, len(requests), dtype=torch.long, device=device)
        self.logps = torch.zeros(num_tokens, len(requests), device=device)
        self.states: list[torch.Tensor] = []  # by token (B, H), of the rows that were decoded then; zeros of others
        self.lengths = torch.zeros(len(requests), dtype=torch.long, device=device)
        self.ended = torch.zeros(len(requests), dtype=torch.bool, device=device)
        self.live = torch.arange(len(requests), device=device)  # the requests that the decoded rows belong to
        self.writing = torch.ones(len(requests), dtype=torch.bool, device=device)  # of the decoded rows

    def see(self, states: torch.Tensor) -> None:
        """Keep the states (live rows, …, H) that the next token is drawn from; the first are those of the prompts."""
        states = states.reshape(states.shape[0], -1, states.shape[-1])[:, -1]
        if not self.states:
            states = states[self.prompt_of_row]
        kept = states.new_zeros(len(self.lengths), states.shape[1])
        kept[self.live] = states
        self.states.append(kept)

    def write(self, t: int, tokens: torch.Tensor, logps: torch.Tensor) -> int:
        """Note token t of every decoded row; the number of rows still writing."""
        self.tokens[t, self.live], self.logps[t, self.live] = tokens, logps
        self.lengths[self.live] += self.writing
        stopped = self.stops[tokens]
        if self.strings:
            stopped = stopped | self.strings.completed(self.tokens[: t + 1, self.live])
        self.ended[self.live] |= stopped & self.writing
        self.writing = self.writing & ~stopped
        return int(self.writing.sum())

    def retire(self, num_writing: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Keep the rows still writing: those beyond `num_writing` move into the places of finished ones before it."""
        sources = num_writing + self.writing[num_writing:].nonzero()[:, 0]
        targets = (~self.writing[:num_writing]).nonzero()[:, 0]
        self.live = moved(self.live, sources, targets, num_writing)
        self.writing = torch.ones(num_writing, dtype=torch.bool, device=self.live.device)
        return sources, targets

    def completions(self, policy_version: int) -> list[SampledCompletion]:
        """What was written, one per request."""
        columns = (self.tokens.T.tolist(), self.logps.T.tolist(), self.lengths.tolist(), self.ended.tolist())
        # A head that is not called once per token says nothing about which token it was.
        kept = len(self.states) == int(self.lengths.max())
        states = list(torch.stack(self.states, 1)) if kept else [None] * len(self.lengths)
        return [
            SampledCompletion(
                tuple(tokens[:n]),
                tuple(logps[:n]),
                "stop" if ended else "length",
                policy_version,
                None if state is None else state[:n],
            )
            for tokens, logps, n, ended, state in zip(*columns, states, strict=True)
        ]


def _decode(
    forward: Pass,
    rows: _Rows,
    decoding: DecodingSettings,
    vocabulary: Vocabulary | None,
    on_done: Callable[[int], None] | None,
) -> None:
    """Token by token until every row has ended or is max_new_tokens long."""
    logits = forward.start(rows.prompts, rows.prompt_of_row)
    num_writing = len(rows.live)
    for t in range(decoding.max_new_tokens):
        tokens, logps = draw(
            logits if vocabulary is None else vocabulary.cut_logits(logits),
            rows.uniforms[t, rows.live],
            temperature=decoding.temperature,
            top_k=decoding.top_k,
            top_p=decoding.top_p,
            min_p=decoding.min_p,
        )
        num_before, num_writing = num_writing, rows.write(t, tokens, logps)
        last = t + 1 == decoding.max_new_tokens
        num_done = num_before if last else num_before - num_writing
        if on_done is not None and num_done:
            on_done(num_done)
        if last or num_writing == 0:
            return
        if num_writing <= RETIRE_AT * len(rows.live):
            sources, targets = rows.retire(num_writing)
            forward.move_rows(sources, targets, num_writing)
            tokens = moved(tokens, sources, targets, num_writing)
        logits = forward.step(tokens)


def _batches(requests: Sequence[SampleRequest], max_rows: int, *, mixed_lengths: bool) -> Iterator[list[int]]:
    """Request numbers by batch: sorted by prompt length, equal prompts together."""
    batch: list[int] = []
    for i in sorted(range(len(requests)), key=lambda i: (len(requests[i].prompt_ids), requests[i].prompt_ids)):
        other_length = bool(batch) and len(requests[batch[0]].prompt_ids) != len(requests[i].prompt_ids)
        if len(batch) == max_rows or (other_length and not mixed_lengths):
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


@contextmanager
def _decoding(model: PreTrainedModel) -> Iterator[None]:
    """Without dropout, time steps within their limits; every module's mode comes back."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with limited_time_steps(model):
            yield
    finally:
        for module in training:
            module.training = True
