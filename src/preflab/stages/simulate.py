"""Stage `simulate`: pools samples of a reference and of trained policies, and writes the simulator's page.

Files in the run folder:

pool.parquet     the samples with their log-probabilities and scores, see explain/pool.py
simulator.html   the page, one file that opens offline

The page is also written into the workspace's folder, as `simulator.html`, or as `simulator-RECIPE.html` if that is
another recipe's.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from preflab.files import write_text
from preflab.recipe import Recipe
from preflab.settings.simulate import SimulateSettings
from preflab.stages.base import StageContext, StageResult
from preflab.stages.common.pooled_policies import common_settings
from preflab.stages.common.workspace_page import page_name
from preflab.words import count, three_digits

if TYPE_CHECKING:
    from preflab.explain.pool import Pool

VERSION = 1
PAGE = "simulator.html"


def check(recipe: Recipe, settings: SimulateSettings) -> None:
    """Refuses policies that were not trained from one reference at one temperature; see `common_settings`."""
    common_settings(
        settings,
        {name: recipe.stages[name].model_dump(mode="json") for name in settings.policies if name in recipe.stages},
    )


def run(ctx: StageContext) -> StageResult:
    """Make the pool, store its completions and write the page."""
    from preflab.explain.pool import write_pool
    from preflab.explain.simulator_data import simulator_data
    from preflab.explain.simulator_page import simulator_page
    from preflab.stages.common.pooled import ask, make_pool

    asked = ask(ctx)
    pool, completions = make_pool(asked)
    ctx.workspace.put([*asked.prompts, *completions])
    write_pool(ctx.folder / "pool.parquet", pool)
    data = simulator_data(pool)
    page = simulator_page(data)
    workspace = ctx.folder.parents[1]
    place = workspace / page_name(ctx.recipe.path, workspace, "simulator", "simulate")
    for file in (ctx.folder / PAGE, place):
        write_text(file, page)
    return _result(pool, data["notes"], str(place))


def _result(pool: Pool, notes: list[str], link: str) -> StageResult:
    """The summary says how small a penalty the pool can speak about."""
    from preflab.explain.curve import smallest_trusted

    num_prompts = len(set(pool.prompt_ids))
    smallest = smallest_trusted(pool)
    made = f"{count(len(pool), 'sample')} of {count(len(pool.names), 'policy', 'policies')}"
    figures: dict[str, float | str] = {"num_samples": len(pool), "num_prompts": num_prompts}
    where = "trusted nowhere"
    if smallest is not None:
        where = "trusted at the reference alone"
    if smallest is not None and math.isfinite(smallest):
        where = f"trusted down to a KL penalty of {three_digits(smallest)}"
        figures["smallest_trusted"] = smallest
    summary = f"{made} on {count(num_prompts, 'prompt')}, {where}"
    return StageResult("; ".join([summary, *notes]), figures, link=link)
