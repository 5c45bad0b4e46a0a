"""The transformers engine: preflab's own decode loop over any causal language model.

B rows that are decoded together, T maximum number of new tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from preflab.errors import PreflabError
from preflab.models.facts import token_limits
from preflab.models.packed import packed_linear
from preflab.models.precision import computing_dtype, without_gradients
from preflab.models.rotary import RowLengths
from preflab.models.vocabulary import Vocabulary, fitting_vocabulary
from preflab.sampling.bucketed import BucketedDecoder
from preflab.sampling.buckets import Buckets
from preflab.sampling.capture import Captured
from preflab.sampling.draw import draw, exact_dtype
from preflab.sampling.mask_record import MaskRecord
from preflab.sampling.pass_choice import fitting_pass, fixed_pass
from preflab.sampling.passes import Pass, moved
from preflab.sampling.randomness import uniforms
from preflab.sampling.stops import StopStrings, stop_table
from preflab.sampling.time_steps import limited_time_steps
from preflab.settings.sampling import DecodingSettings
from preflab.training.protocols import SampledCompletion, SampleRequest

# Finished rows are dropped when at most this share of the rows is unfinished. In measurements 0.85 to 0.99 were equally
# fast, and 0.5 was 10 % slower.
RETIRE_AT = 0.9

Capture = Literal["auto", "on", "off"]
"""Whether decode steps run over fixed buffers: "auto" means on a CUDA device."""

MAX_STATES = 2**28
"""Most bytes of hidden states that one call keeps; stacking them needs twice that for a short time."""


class TransformersEngine:
    """Samples from a `PreTrainedModel` with its current weights and active adapter.

    Equal prompts share one prefill, finished rows are dropped, and each request draws from its own seed. Samples
    therefore do not depend on the other requests in the batch, except for draws so close to the boundary between two
    tokens that rounding decides.
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
        keep_masks: bool = False,
        capture: Capture = "auto",
        buckets: Buckets | None = None,
    ) -> None:
        """
        Args:
            model: the language model to decode with.
            pad_id: token that pads shorter prompts on the left; it is always masked, so any id of the vocabulary works.
            stop_token_ids: tokens that end a completion if the decoding settings name none.
            tokenizer: only its ids are drawn, and stop strings are searched in the text that it decodes; None: every
                row of the embedding is an id, and stop strings are not supported.
            role: returns a context that activates the role to sample from (`trunk.role("policy")`).
            keep_states: whether completions carry the hidden states that their tokens were drawn from. They are kept
                only if the model computes in float32 and the states of one call fit into `MAX_STATES`.
            keep_masks: whether completions of truncated sampling carry the ids that their tokens were drawn from.
            capture: whether steps run over fixed buffers and are captured as graphs (`sampling.bucketed`); "auto": on a
                CUDA device. On a CPU "on" runs the same steps without graphs. A model that cannot be decoded in this
                way is decoded by the plain loop.
            buckets: the sizes of such steps; None: those of `Buckets`.

        Raises:
            PreflabError: the tokenizer has an id beyond the embedding.
        """
        self.vocabulary = None if tokenizer is None else fitting_vocabulary(model, tokenizer)
        self.row_lengths = RowLengths([model])
        self.model, self.pad_id, self.tokenizer = model, pad_id, tokenizer
        self.stop_token_ids = tuple(stop_token_ids)
        self.role, self.keep_states, self.version = role, keep_states, 0
        self.gives_masks = keep_masks
        self.capture, self.buckets = capture, buckets or Buckets()
        self._pass: Pass | None = None
        self._decoder: BucketedDecoder | None = None
        self._was_tried = False

    @property
    def exact(self) -> bool:
        """Whether log-probabilities equal those of the trainer's pass up to rounding in float32."""
        with self.role():
            return computing_dtype(self.model) == torch.float32

    def sync(self, version: int) -> None:
        """Store the policy's version. No weights are copied: the engine decodes with the module that is trained."""
        self.version = version

    def release(self) -> None:
        """Do nothing: the plain loop frees its cache in each call, and buffers and graphs are kept for the next one."""

    def sample(
        self,
        requests: Sequence[SampleRequest],
        decoding: DecodingSettings,
        *,
        on_done: Callable[[int], None] | None = None,
    ) -> list[SampledCompletion]:
        """Sample one completion per request, in the order of the requests.

        `on_done(n)` is called whenever n more completions are finished.

        Raises:
            PreflabError: a prompt is empty, prompt + max_new_tokens is longer than the model's context or than the
                length that rotary frequencies are fixed for, or a stop token or the logits are invalid.
        """
        self._refuse_what_does_not_fit(requests, decoding)
        stop_ids = decoding.stop_token_ids or self.stop_token_ids
        table = stop_table(stop_ids, self.model.config.get_text_config().vocab_size, self.model.device)
        strings = StopStrings(self.tokenizer, decoding.stop_strings)
        by_request: dict[int, SampledCompletion] = {}
        with _decoding(self.model), self.role(), without_gradients(self.model):
            forward, decoder = self._fitting_pass(), self._fitting_decoder()
            keeps = self._keeps_states(len(requests) * decoding.max_new_tokens)
            for batch in self._batches(requests, decoding, mixed_lengths=forward.pads):
                asked = [requests[i] for i in batch]
                if decoder is not None and not self._records_masks(decoding):
                    done = decoder.sample(asked, decoding, table, strings, self.version, keeps, on_done)
                else:
                    done = self._plainly(forward, _Rows(asked, decoding, table, strings), decoding, keeps, on_done)
                by_request.update(zip(batch, done, strict=True))
            forward.release()
        return [by_request[i] for i in range(len(requests))]

    def _plainly(
        self,
        forward: Pass,
        rows: _Rows,
        decoding: DecodingSettings,
        keeps: bool,
        on_done: Callable[[int], None] | None,
    ) -> list[SampledCompletion]:
        """Decode one batch by the plain loop."""
        head = packed_linear(self.model.get_output_embeddings(), len(rows.live))
        masks = MaskRecord(len(rows.live), decoding if self.gives_masks else None)
        with head, self._watching(rows) if keeps else nullcontext():
            _decode(forward, rows, decoding, self.vocabulary, on_done, masks)
        return masks.added_to(rows.completions(self.version))

    def _records_masks(self, decoding: DecodingSettings) -> bool:
        """Whether the kept ids are recorded. They differ in number from token to token, so the plain loop does it."""
        return self.gives_masks and decoding.truncated and decoding.temperature > 0

    @property
    def decode_path(self) -> str:
        """The name of the pass that feeds the model (see `sampling.passes`); the first call determines it by tests."""
        with _decoding(self.model), self.role(), without_gradients(self.model):
            decoder = self._fitting_decoder()
            return self._fitting_pass().name if decoder is None else decoder.forward.name

    def fitting_decoder(self) -> BucketedDecoder | None:
        """The decoder over fixed buffers; None if completions are written by the plain loop."""
        with _decoding(self.model), self.role(), without_gradients(self.model):
            return self._fitting_decoder()

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
        """Request numbers by batch. If rotary frequencies are not fixed, a batch holds only rows with equal ones."""
        longest = [len(request.prompt_ids) + decoding.max_new_tokens for request in requests]
        for group in self.row_lengths.groups(longest):
            if self.row_lengths.longest is None:
                self.row_lengths.use(max((longest[i] for i in group), default=1))
            for batch in _batches([requests[i] for i in group], decoding.max_batch_rows, mixed_lengths=mixed_lengths):
                yield [group[i] for i in batch]

    def _fitting_decoder(self) -> BucketedDecoder | None:
        on_cuda = self.model.device.type == "cuda"
        if self.capture == "off" or (self.capture == "auto" and not on_cuda):
            return None
        if not self._was_tried:
            self._was_tried = True
            with torch.autocast(self.model.device.type, enabled=False):
                forward = fixed_pass(self._fitting_pass(), self.model, self.buckets)
            if forward is not None:
                self._decoder = BucketedDecoder(forward, Captured.on(self.model.device), self.vocabulary)
        if self._decoder is not None and self._decoder.captured.why_not is not None:
            self._decoder = None
        return self._decoder

    def _keeps_states(self, num_tokens: int) -> bool:
        """Whether the hidden states of a call's tokens are kept."""
        width = getattr(self.model.config.get_text_config(), "hidden_size", 0)
        # In half precision the two forward paths round differently; the difference would show up as KL.
        exact = computing_dtype(self.model) == torch.float32
        return self.keep_states and exact and 0 < num_tokens * width * self.model.dtype.itemsize <= MAX_STATES

    @contextmanager
    def _watching(self, rows: _Rows) -> Iterator[None]:
        """Store the inputs of the model's head in the rows."""
        head = self.model.get_output_embeddings()
        hook = head.register_forward_pre_hook(lambda _, inputs: rows.see(inputs[0]) if inputs else None)
        try:
            yield
        finally:
            hook.remove()

    def _refuse_what_does_not_fit(self, requests: Sequence[SampleRequest], decoding: DecodingSettings) -> None:
        limits, fixed = token_limits(self.model.config), self.row_lengths.longest
        for number, request in enumerate(requests):
            length = len(request.prompt_ids)
            if length == 0:
                raise PreflabError(
                    f"request {number}: the prompt has no tokens",
                    "at least one token (a BOS token counts)",
                    "write a text into the prompt, or use a tokenizer that adds a BOS token",
                )
            if limits.room(length) < decoding.max_new_tokens:
                raise PreflabError(
                    f"request {number}: {length} prompt tokens and {decoding.max_new_tokens} new ones",
                    f"{limits.with_room()}, the model's context",
                    "shorten the prompt or lower max_new_tokens",
                )
            if fixed and length + decoding.max_new_tokens > fixed:
                raise PreflabError(
                    f"request {number}: {length} prompt tokens and {decoding.max_new_tokens} new ones",
                    f"together at most {fixed}, the length for which rotary frequencies are fixed",
                    "fix them for the longest prompt plus max_new_tokens",
                )


class _Rows:
    """The tokens that the rows of a batch have produced so far, and which rows are still decoded."""

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
        self.states: list[torch.Tensor] = []  # per token (B, H); zeros for rows that were not decoded at that step
        self.lengths = torch.zeros(len(requests), dtype=torch.long, device=device)
        self.ended = torch.zeros(len(requests), dtype=torch.bool, device=device)
        self.live = torch.arange(len(requests), device=device)  # the requests that the decoded rows belong to
        self.writing = torch.ones(len(requests), dtype=torch.bool, device=device)  # which decoded rows are unfinished

    def see(self, states: torch.Tensor) -> None:
        """Keep the states (live rows, …, H) that the next token is drawn from.

        The first call gets one row per distinct prompt, which is copied to the prompt's requests.
        """
        states = states.reshape(states.shape[0], -1, states.shape[-1])[:, -1]
        if not self.states:
            states = states[self.prompt_of_row]
        kept = states.new_zeros(len(self.lengths), states.shape[1])
        kept[self.live] = states
        self.states.append(kept)

    def write(self, t: int, tokens: torch.Tensor, logps: torch.Tensor) -> int:
        """Store token t of every decoded row; return the number of unfinished rows."""
        self.tokens[t, self.live], self.logps[t, self.live] = tokens, logps
        self.lengths[self.live] += self.writing
        stopped = self.stops[tokens]
        if self.strings:
            stopped = stopped | self.strings.completed(self.tokens[: t + 1, self.live])
        self.ended[self.live] |= stopped & self.writing
        self.writing = self.writing & ~stopped
        return int(self.writing.sum())

    def retire(self, num_writing: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Drop finished rows: unfinished rows from `num_writing` on move to the places of finished rows before it.

        Returns:
            The old and the new places of the moved rows.
        """
        sources = num_writing + self.writing[num_writing:].nonzero()[:, 0]
        targets = (~self.writing[:num_writing]).nonzero()[:, 0]
        self.live = moved(self.live, sources, targets, num_writing)
        self.writing = torch.ones(num_writing, dtype=torch.bool, device=self.live.device)
        return sources, targets

    def completions(self, policy_version: int) -> list[SampledCompletion]:
        """The sampled completions, one per request."""
        columns = (self.tokens.T.tolist(), self.logps.T.tolist(), self.lengths.tolist(), self.ended.tolist())
        # If the head was not called exactly once per token, states cannot be assigned to tokens.
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
    masks: MaskRecord,
) -> None:
    """Decode token by token until every row has ended or has max_new_tokens tokens."""
    logits = forward.start(rows.prompts, rows.prompt_of_row)
    num_writing = len(rows.live)
    for t in range(decoding.max_new_tokens):
        real = logits if vocabulary is None else vocabulary.cut_logits(logits)
        masks.keep(real, rows.live)
        tokens, logps = draw(
            real,
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
    """Request numbers by batch, sorted by prompt length, with equal prompts next to each other."""
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
    """Set eval mode and limit time steps inside the block; restore each module's training mode afterwards."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with limited_time_steps(model):
            yield
    finally:
        for module in training:
            module.training = True
