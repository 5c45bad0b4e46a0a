"""The tokens that a batch has written, in tensors whose addresses do not change, so that writing can be captured.

N requests of a batch, T maximum number of new tokens, R rows of the bucket, V vocabulary, H hidden. Row r of a step
belongs to request `live[r]`; a row without a request writes to a column N of its own that nobody reads.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from preflab.sampling.draw import exact_dtype, not_numbers
from preflab.sampling.philox import uniforms_on
from preflab.sampling.randomness import uniforms
from preflab.sampling.stops import StopStrings
from preflab.training.protocols import SampledCompletion, SampleRequest


class StaticRows:
    """The tokens that rows have produced so far, and which rows are still decoded.

    Args:
        size: the most requests of a batch, the most rows of a step, and the largest T.
        num_ids: V, the length of the stop table.
        device: where everything lies.
    """

    def __init__(self, size: tuple[int, ...], num_ids: int, device: torch.device) -> None:
        self.size = size
        self.num_requests, num_rows, num_tokens = size
        columns = self.num_requests + 1
        self.uniforms = torch.zeros(num_tokens, columns, dtype=exact_dtype(device), device=device)
        self.tokens = torch.zeros(num_tokens, columns, dtype=torch.long, device=device)
        self.logps = torch.zeros(num_tokens, columns, device=device)
        self.states = torch.zeros(num_tokens, columns, 0, device=device)  # (T, N + 1, H), if they are kept
        self.lengths = torch.zeros(columns, dtype=torch.long, device=device)
        self.ended = torch.zeros(columns, dtype=torch.bool, device=device)
        self.stops = torch.zeros(num_ids, dtype=torch.bool, device=device)
        self.live = torch.zeros(num_rows, dtype=torch.long, device=device)
        self.writing = torch.zeros(num_rows, dtype=torch.bool, device=device)
        self.now = torch.zeros((), dtype=torch.long, device=device)  # t, the token that is written next
        self.failed = torch.zeros(
            (), dtype=torch.bool, device=device
        )  # whether an unfinished row's logits were not numbers
        self.keeps_states = False
        self.made = object()

    def fits(self, size: tuple[int, ...], num_ids: int) -> bool:
        """Whether a batch of this size can be written here."""
        return all(have >= want for have, want in zip(self.size, size, strict=True)) and len(self.stops) == num_ids

    def begin(self, requests: Sequence[SampleRequest], num_tokens: int, stops: Tensor, keep_states: bool) -> None:
        """Start a batch; row b of the first rows belongs to request b."""
        seeds, device = [request.seed for request in requests], self.uniforms.device
        # The same numbers, made where they are used; on a CPU numpy is faster.
        drawn = uniforms(seeds, num_tokens) if device.type == "cpu" else uniforms_on(device, seeds, num_tokens)
        self.uniforms[:num_tokens, : len(requests)] = drawn.T.to(self.uniforms.dtype)
        self.stops.copy_(stops)
        for tensor in (self.lengths, self.ended, self.now, self.failed):
            tensor.zero_()
        self.live.fill_(self.num_requests)
        self.live[: len(requests)] = torch.arange(len(requests), device=device)
        self.writing.copy_(self.live < self.num_requests)
        self.keeps_states = keep_states

    def see(self, states: Tensor) -> None:
        """Keep the states (R, …, H) that the next token is drawn from."""
        last = states.reshape(states.shape[0], -1, states.shape[-1])[:, -1]
        if self.states.shape[2] != last.shape[1]:
            self.states, self.made = last.new_zeros(*self.tokens.shape, last.shape[1]), object()
        self.states.index_put_((self.now.expand(len(last)), self.live[: len(last)]), last)

    def numbers(self, num_rows: int) -> Tensor:
        """(R,) the uniform number of each row's next token."""
        return self.uniforms.index_select(0, self.now.view(1))[0].index_select(0, self.live[:num_rows])

    def write(self, tokens: Tensor, logps: Tensor, drawn: Tensor) -> None:
        """Store the next token of every row and find the rows that it ends.

        Args:
            tokens, logps: (R,) the tokens and their log-probabilities.
            drawn: (R,) bool; False where the logits were not numbers. It only counts for unfinished rows.
        """
        live, writing = self.live[: len(tokens)], self.writing[: len(tokens)]
        place = (self.now.expand(len(tokens)), live)
        self.tokens.index_put_(place, tokens)
        self.logps.index_put_(place, logps)
        self.lengths.index_add_(0, live, writing.long())
        self.failed.logical_or_((writing & ~drawn).any())
        stopped = self.stops[tokens] & writing
        self.ended.index_put_((live,), self.ended[live] | stopped)
        writing.logical_and_(~stopped)
        self.now += 1

    def look(self, num_rows: int) -> int:
        """The number of unfinished rows. The host waits for the device here, and nowhere else in a step.

        Raises:
            PreflabError: the logits of an unfinished row were not numbers.
        """
        num_writing, failed = torch.stack([self.writing[:num_rows].sum(), self.failed.long()]).tolist()
        if failed:
            raise not_numbers()
        return int(num_writing)

    def end_at_strings(self, strings: StopStrings, num_rows: int, since: int, until: int) -> None:
        """End the rows whose text contains a stop string after one of the tokens `since` to `until` − 1.

        A row may have written more tokens since then, or have ended at a later stop token; it ends at the string.
        """
        live = self.live[:num_rows]
        numbers = torch.cat([self.lengths[live][None], self.tokens[:until, live]]).cpu()  # one wait for all tokens
        lengths, tokens = numbers[0], numbers[1:]
        ending = torch.zeros_like(lengths, dtype=torch.bool)
        for t in range(since, until):
            ends = strings.completed(tokens[: t + 1]) & (lengths > t)  # a row without a request has no length
            lengths = torch.where(ends, t + 1, lengths)
            ending |= ends
        ending = ending.to(live.device)
        self.lengths[live] = lengths.to(live.device)
        self.ended[live] = self.ended[live] | ending
        self.writing[:num_rows] &= ~ending

    def order(self, num_kept: int, num_rows: int) -> Tensor:
        """The rows to keep, unfinished ones first, in their order."""
        return (~self.writing[:num_rows]).long().argsort(stable=True)[:num_kept]

    def keep(self, rows: Tensor) -> None:
        """Row i becomes row rows[i]."""
        self.live[: len(rows)] = self.live.index_select(0, rows)
        self.writing[: len(rows)] = self.writing.index_select(0, rows)

    def completions(self, num_requests: int, policy_version: int) -> list[SampledCompletion]:
        """The sampled completions, one per request."""
        lengths, ended = self.lengths[:num_requests].tolist(), self.ended[:num_requests].tolist()
        longest = max(lengths, default=0)
        tokens, logps = (kept[:longest, :num_requests].T.tolist() for kept in (self.tokens, self.logps))
        states = self.states if self.keeps_states else None
        return [
            SampledCompletion(
                tuple(tokens[i][:n]),
                tuple(logps[i][:n]),
                "stop" if ended[i] else "length",
                policy_version,
                None if states is None else states[:n, i].clone(),
            )
            for i, n in enumerate(lengths)
        ]
