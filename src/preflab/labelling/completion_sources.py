"""Completions in the workspace that a campaign can be made from, by the model that wrote them."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass

from sqlalchemy import func, select

from preflab.labelling.errors import Invalid
from preflab.store.database import reading
from preflab.store.schema import CompletionRow
from preflab.store.workspace import Workspace

ALL = "all"
SHORTEST = 2
"""Smallest number of completions of one prompt that can be compared."""


@dataclass(frozen=True)
class Source:
    """A set of completions that a campaign can be made from."""

    id: str
    """`all`, or `model:` and the model's name."""
    name: str
    num_prompts: int
    """Prompts with at least two completions."""
    num_completions: int


def list_sources(ws: Workspace) -> list[Source]:
    """The sources of the workspace: all models together, then each model with two completions of some prompt."""
    table = CompletionRow.__table__
    query = select(table.c.model, table.c.prompt_id, func.count()).group_by(table.c.model, table.c.prompt_id)
    with reading(ws.engine) as connection:
        rows = connection.execute(query).all()
    every: Counter[str] = Counter()
    by_model: dict[str, list[int]] = defaultdict(list)
    for model, prompt_id, num in rows:
        every[prompt_id] += num
        by_model[model].append(num)
    listed = [_source(f"model:{model}", model, nums) for model, nums in sorted(by_model.items())]
    together = _source(ALL, "all completions", list(every.values()))
    offered = [together, *listed] if len(by_model) > 1 else listed
    return [source for source in offered if source.num_prompts]


def groups_of_source(ws: Workspace, source: str) -> list[list[str]]:
    """Completion ids of a source, one list per prompt, in the order in which they were sampled.

    Raises:
        Invalid: nothing in the workspace can be compared.
    """
    model = source.removeprefix("model:") if source != ALL else None
    groups: dict[str, list[tuple[str, int, str]]] = defaultdict(list)
    for completion in ws.completions(model=model):
        groups[completion.prompt_id].append((completion.model, completion.index, completion.id))
    long_enough = [
        [completion_id for *_, completion_id in sorted(group)]
        for _, group in sorted(groups.items())
        if len(group) >= SHORTEST
    ]
    if not long_enough:
        raise Invalid(
            f"{source!r:.80}: no prompt with two completions",
            "completions that can be compared",
            "upload a file instead",
        )
    return long_enough


def _source(source: str, name: str, nums: list[int]) -> Source:
    usable = [num for num in nums if num >= SHORTEST]
    return Source(source, name, len(usable), sum(usable))
