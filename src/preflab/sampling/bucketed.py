"""The decode loop over fixed buffers: prefill, then captured steps, with a look at the rows every few steps.

A step computes the logits, draws from them and writes what was drawn, all on the device (`static_pass`, `static_rows`).
The host starts steps without waiting. Every `LOOK_EVERY` steps it looks how many rows are unfinished; if they fit into
a smaller bucket, the finished ones are dropped. Samples are those of the plain loop (`engine._decode`) on the same
noise: a row that is decoded a few steps too long writes tokens that are cut off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor

from preflab.models.rounded import RoundedWeights
from preflab.models.vocabulary import NEVER, Vocabulary
from preflab.sampling.buckets import Buckets
from preflab.sampling.capture import Captured
from preflab.sampling.draw import draw_without_waiting
from preflab.sampling.static_pass import addresses
from preflab.sampling.static_rows import StaticRows
from preflab.sampling.stops import StopStrings
from preflab.settings.sampling import DecodingSettings
from preflab.training.protocols import SampledCompletion, SampleRequest

LOOK_EVERY = 8
"""Steps between two looks: a row is decoded at most this many tokens too long, on average half as many."""


class FixedPass(Protocol):
    """A pass over fixed buffers (`static_pass.StaticPass`)."""

    room: int
    made: object
    """Another object each time that the buffers are allocated."""
    tokens: Tensor
    model: Any
    buckets: Buckets

    @property
    def name(self) -> str:
        """The name of the way in the table of `preflab check`."""

    @property
    def size(self) -> tuple[int, ...]:
        """R, K, and what else tells one step from another."""

    def start(self, prompts: Sequence[tuple[int, ...]], rows: Tensor) -> Tensor:
        """(B, V) logits after the prompts; row b continues prompts[rows[b]]."""

    def run(self, *size: int) -> Tensor:
        """(R, V) logits after the tokens in `tokens`."""

    def advance(self) -> None:
        """Tell the host that a step has been run."""

    def keep(self, rows: Tensor, num_live: int) -> None:
        """Row i becomes a copy of row rows[i]."""

    def release(self) -> None:
        """Free the buffers."""


class BucketedDecoder:
    """Decodes batches over one set of buffers and graphs, which serve again as long as weights and sizes allow.

    Args:
        forward: the pass.
        captured: runs steps from graphs, or as they are.
        vocabulary: the ids that may be drawn; None: all.
    """

    def __init__(self, forward: FixedPass, captured: Captured, vocabulary: Vocabulary | None) -> None:
        self.forward, self.captured, self.vocabulary = forward, captured, vocabulary
        self.rows: StaticRows | None = None
        self._known: object = None
        self._weights: RoundedWeights | None = None
        self._seen: list[Tensor] = []
        self._inference = False
        holes = vocabulary.holes if vocabulary else ()
        self._holes = torch.tensor(holes, dtype=torch.long, device=forward.model.device) if holes else None

    def sample(
        self,
        requests: Sequence[SampleRequest],
        decoding: DecodingSettings,
        stops: Tensor,
        strings: StopStrings,
        version: int,
        keep_states: bool,
        on_done: Callable[[int], None] | None,
    ) -> list[SampledCompletion]:
        """Decode one batch.

        Args:
            requests: the batch.
            decoding: how tokens are drawn.
            stops: (V,) the tokens that end a completion.
            strings: the strings that end one.
            version: the policy's version.
            keep_states: whether completions carry the states that their tokens were drawn from.
            on_done: called with the number of completions that have been finished since the last call.
        """
        places = {prompt: i for i, prompt in enumerate(dict.fromkeys(request.prompt_ids for request in requests))}
        prompt_of_row = torch.tensor([places[request.prompt_ids] for request in requests], device=stops.device)
        self._drop_tensors_of_another_mode()
        rows = self._begin(requests, decoding, stops, keep_states)
        self.forward.room = decoding.max_new_tokens
        with self._rounded(), self._watching(rows):
            self._first(rows, self.forward.start(list(places), prompt_of_row), decoding, prompt_of_row)
            self._go_on(rows, len(requests), decoding, strings, on_done)
        return rows.completions(len(requests), version)

    def _drop_tensors_of_another_mode(self) -> None:
        """Allocate anew if inference mode has changed: its tensors cannot be written to outside it."""
        if self._inference != torch.is_inference_mode_enabled():
            self._inference = torch.is_inference_mode_enabled()
            self.rows = self._weights = self._known = None
            self.forward.release()

    def _begin(
        self, requests: Sequence[SampleRequest], decoding: DecodingSettings, stops: Tensor, keep_states: bool
    ) -> StaticRows:
        size = len(requests), self.forward.buckets.num_rows(len(requests)), decoding.max_new_tokens
        if self.rows is None or not self.rows.fits(size, len(stops)):
            former = self.rows.size if self.rows else (0, 0, 0)
            self.rows = StaticRows(tuple(map(max, size, former)), len(stops), stops.device)
        self.rows.begin(requests, decoding.max_new_tokens, stops, keep_states)
        return self.rows

    @contextmanager
    def _rounded(self) -> Iterator[None]:
        """Under autocast, round float32 weights once for the whole batch (`models.rounded`)."""
        half = self._half
        if half is None:
            yield
            return
        if self._weights is None or self._weights.half != half:
            self._weights = RoundedWeights(self.forward.model, half)
        self._weights.refresh()
        kept = torch.is_autocast_cache_enabled()
        torch.set_autocast_cache_enabled(False)  # a graph must not read what autocast keeps for this block only
        try:
            with self._weights.used():
                yield
        finally:
            torch.set_autocast_cache_enabled(kept)

    @property
    def _half(self) -> torch.dtype | None:
        device = self.forward.model.device.type
        return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None

    @contextmanager
    def _watching(self, rows: StaticRows) -> Iterator[None]:
        """Collect the inputs of the model's head, if states are kept."""
        head = self.forward.model.get_output_embeddings()
        if not rows.keeps_states or head is None:
            yield
            return
        hook = head.register_forward_pre_hook(lambda _, inputs: self._seen.append(inputs[0]) if inputs else None)
        self._seen.clear()
        try:
            yield
        finally:
            hook.remove()

    def _first(self, rows: StaticRows, logits: Tensor, decoding: DecodingSettings, prompt_of_row: Tensor) -> None:
        """Draw the first token from the logits after the prompts."""
        self._keep_states(rows, prompt_of_row)
        self._draw(rows, logits, decoding)

    def _keep_states(self, rows: StaticRows, prompt_of_row: Tensor | None = None) -> None:
        """Keep the one tensor that the head was given in this step; if it was not one, states belong to no token."""
        if not rows.keeps_states:
            return
        if len(self._seen) != 1:
            rows.keeps_states = False
        elif prompt_of_row is None:
            rows.see(self._seen[0])
        else:
            rows.see(self._seen[0][prompt_of_row])
        self._seen.clear()

    def _draw(self, rows: StaticRows, logits: Tensor, decoding: DecodingSettings) -> None:
        tokens, logps, drawn = draw_without_waiting(
            self._cut(logits),
            rows.numbers(len(logits)),
            temperature=decoding.temperature,
            top_k=decoding.top_k,
            top_p=decoding.top_p,
            min_p=decoding.min_p,
        )
        rows.write(tokens, logps, drawn)
        self.forward.tokens[: len(tokens)] = tokens

    def _cut(self, logits: Tensor) -> Tensor:
        """The logits of the ids that exist, as `Vocabulary.cut_logits`, without a copy of the holes from the host."""
        if self.vocabulary is None:
            return logits
        logits = logits[:, : self.vocabulary.num_ids]
        return logits if self._holes is None else logits.index_fill(-1, self._holes, NEVER)

    def _go_on(
        self,
        rows: StaticRows,
        num_left: int,
        decoding: DecodingSettings,
        strings: StopStrings,
        on_done: Callable[[int], None] | None,
    ) -> None:
        """Decode until every row has ended or has max_new_tokens tokens."""
        self._forget_if_changed(rows, decoding)
        num_rows, looked, last = self.forward.size[0], 0, decoding.max_new_tokens
        for t in range(1, last + 1):
            if t % LOOK_EVERY == 0 or t in (1, last):
                if strings:
                    rows.end_at_strings(strings, num_rows, looked, t)
                looked, num_writing = t, rows.look(num_rows)
                num_done = num_left - (0 if t == last else num_writing)
                if on_done is not None and num_done:
                    on_done(num_done)
                num_left -= num_done
                if num_left == 0:
                    return
                num_rows = self._retire(rows, num_rows, num_writing)
            self.captured.run(self.forward.size, self._step(rows, decoding))
            self.forward.advance()

    def _retire(self, rows: StaticRows, num_rows: int, num_writing: int) -> int:
        """Drop finished rows if the others fit into a smaller bucket; returns the bucket."""
        smaller = self.forward.buckets.num_rows(num_writing)
        if smaller >= num_rows:
            return num_rows
        kept = rows.order(smaller, num_rows)
        self.forward.keep(kept, num_writing)
        rows.keep(kept)
        return smaller

    def _step(self, rows: StaticRows, decoding: DecodingSettings) -> Callable[[], None]:
        size = self.forward.size

        def step() -> None:
            self._seen.clear()  # a capture that failed may have left a tensor
            logits = self.forward.run(*size)
            self._keep_states(rows)
            self._draw(rows, logits, decoding)

        return step

    def _forget_if_changed(self, rows: StaticRows, decoding: DecodingSettings) -> None:
        """Drop the graphs if what they hold is no longer true: addresses, the way of drawing, the precision."""
        drawing = (decoding.temperature, decoding.top_k, decoding.top_p, decoding.min_p)
        ours = (addresses(self.forward.model), self.forward.made, rows.made, rows.keeps_states)
        known = (*ours, drawing, self._half)
        if known != self._known:
            self.captured.forget()
            self._known = known
