"""A stand-in for a trunk whose log-probabilities, entropies, KLs and values are numbers that a test writes down.

Completion number r has the prompt (r,), so that a batch says which rows of the written numbers it is about. The numbers
are parameters: their gradients are those of a loss by what a role says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from preflab.models.chunked import TokenLoss, TokenStatistics
from preflab.models.role_output import RoleOutput
from preflab.records import Prompt
from preflab.training.batches import TokenSequence
from preflab.training.joined_rows import JoinedRows, join_rows
from preflab.training.protocols import SampledCompletion
from preflab.training.rollouts import Rollouts

Rows = Sequence[Sequence[float]]


class PaperTrunk(nn.Module):
    """Policy and value role by tables of rows of one length, (B, T)."""

    device = torch.device("cpu")

    def __init__(self, logps: Rows) -> None:
        super().__init__()
        table = torch.tensor(logps)
        self.logps = nn.Parameter(table)
        self.entropy = nn.Parameter(torch.ones_like(table))
        self.kl = nn.Parameter(torch.zeros_like(table))
        self.values = nn.Parameter(torch.zeros_like(table))

    def collate(self, sequences: Sequence[TokenSequence]) -> JoinedRows:
        """As a decoder reads them."""
        return join_rows(sequences, 0)

    def forward(
        self,
        batch: JoinedRows,
        roles: tuple[str, ...],
        *,
        temperature: float = 1.0,
        entropy: bool = False,
        entropy_gradient: bool = True,
        exact_kl: bool = False,
        loss: TokenLoss | None = None,
        whole_loss: bool = False,
    ) -> dict[str, RoleOutput]:
        """As a real trunk answers: an entropy for logging has no gradient, a token loss is taken at once."""
        rows, mask = batch.input_ids[:, 0], batch.completion_mask
        width = mask.shape[1]

        def cut(table: Tensor) -> Tensor:
            return torch.where(mask, table[rows, :width], 0.0)

        if roles == ("value",):
            return {"value": RoleOutput(values=cut(self.values))}
        entropies = (
            cut(self.entropy if entropy_gradient else self.entropy.detach()) if entropy else torch.zeros(mask.shape)
        )
        logps, kl = cut(self.logps), cut(self.kl) if exact_kl else torch.zeros(mask.shape)
        total = None
        if loss is not None:
            statistics = TokenStatistics(logps[mask], entropies[mask], kl[mask], torch.zeros_like(logps[mask]))
            total = loss(statistics, slice(0, int(mask.sum())))
        return {"policy": RoleOutput(logps=logps, entropy=entropies, kl=kl, loss=total)}


def rollouts_on_paper(old_logps: Rows) -> Rollouts:
    """Completions of these lengths that ended themselves, with log π_old of their tokens; one row each."""
    sampled = [SampledCompletion(tuple(range(len(row))), tuple(row), "stop") for row in old_logps]
    prompts, prompt_ids = [Prompt.make(text="a")] * len(sampled), [(row,) for row in range(len(sampled))]
    return Rollouts.start(prompts, prompt_ids, sampled, ["a"] * len(sampled))


class PaperAccelerator:
    """A process of two, of which the other one holds the same numbers: sums double, gathered numbers differ by 1."""

    num_processes = 2
    device = torch.device("cpu")
    is_main_process = True

    def __init__(self, process_index: int = 0) -> None:
        self.process_index = process_index
        self.shared: list[bool] = []
        """Of each backward pass whether the processes share their gradients after it."""
        self._alone = False

    def reduce(self, values: Tensor, reduction: str = "mean") -> Tensor:
        """The sum over both processes, or their mean."""
        return 2 * values if reduction == "sum" else values

    def gather(self, values: Tensor) -> Tensor:
        """The numbers of this process, then the other's, larger by 1."""
        return torch.cat([values, values + 1])

    def backward(self, loss: Tensor) -> None:
        """The gradient of both processes' mean, which is that of each."""
        self.shared.append(not self._alone)
        loss.backward()

    @contextmanager
    def no_sync(self, model: object) -> Iterator[None]:
        """Backward passes in here are not shared."""
        self._alone = True
        yield
        self._alone = False
