"""The simulator as one self-contained HTML page: what other rewards and KL penalties would have made of a policy."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from preflab.errors import PreflabError
from preflab.explain.curve import LEAST, LEAST_SHARE, MOST, NUM_POINTS
from preflab.explain.inline import STATIC, inline_page
from preflab.explain.pareto import LIMIT
from preflab.explain.weights import ERRORS_MOVED, FEWEST_EFFECTIVE, LEAST_MOVED, MOST_THIN, REACH

SCRIPTS = (
    "weights", "pareto", "points", "features", "model", "words", "elements", "chart", "list", "draw", "live", "table",
    "prediction", "controls", "readout", "start",
)  # fmt: skip
"""Parts of the page's script, in order."""
LIMITS = {
    "FEWEST": FEWEST_EFFECTIVE,
    "MOST_THIN": MOST_THIN,
    "LARGEST_SHAPE": LIMIT,
    "ERRORS_MOVED": ERRORS_MOVED,
    "LEAST_MOVED": LEAST_MOVED,
    "REACH": REACH,
    "LEAST_SHARE": LEAST_SHARE,
    "MOST_BETA": MOST,
    "LEAST_BETA": LEAST,
    "NUM_POINTS": NUM_POINTS,
}
"""Constants of the page's script: when a point is unsure, and the curve's values of β."""


def simulator_page(data: Mapping[str, Any]) -> str:
    """The page as HTML; it opens offline by double click.

    Args:
        data: what `simulator_data` returns; docs/reference/pool.md describes the pool that they come from.

    Raises:
        PreflabError: the data have another schema, no samples, columns of different lengths or unsorted prompts.
    """
    _check(data)
    return inline_page(
        "simulator.html.j2",
        title=data["title"],
        data=data,
        script=_script(),
        styles=("simulator.css",),
        connect="'self'" if data.get("live") is not None else "",
        data_label=data["criteria"][0]["label"] if data["criteria"] else "gold",
        limits=LIMITS,
        made_by=data["made_by"],
        simulated=data["simulated"],
        notes=[note.rstrip(".") for note in data.get("notes", [])],
        num_prompts=len(data["prompts"]),
        num_samples=len(data["samples"]["text"]),
        num_runs=len(data["policies"]) - 1,
        live=data.get("live") is not None,
    )


def data_of_page(page: str) -> dict[str, Any]:
    """The data that a simulator's page was made from.

    Raises:
        PreflabError: the text is not such a page.
    """
    script = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    if script is None:
        raise PreflabError("a page without data", "an HTML file that `preflab simulate` wrote", "name another file")
    data: dict[str, Any] = json.loads(script[1])
    return data


def _script() -> str:
    constants = "".join(f"const {name} = {value:g};\n" for name, value in LIMITS.items())
    parts = [(STATIC / f"simulator-{part}.js").read_text(encoding="utf-8") for part in SCRIPTS]
    return constants + "".join(parts)


def _check(data: Mapping[str, Any]) -> None:
    if data.get("schema") != 1:
        raise PreflabError(
            f"simulator data: schema {data.get('schema')!r}", "schema 1", "make the data with this version of preflab"
        )
    samples, num = data["samples"], len(data["samples"]["text"])
    if not num:
        raise PreflabError("simulator data: no samples", "at least one", "pool samples with `preflab simulate RUN…`")
    plain = {name: samples[name] for name in ("prompt", "policy", "num_tokens", "num_words", "finished")}
    nested = {f"{name}[{j}]": each for name in ("logps", "terms", "criteria") for j, each in enumerate(samples[name])}
    for name, column in {**plain, **nested}.items():
        if len(column) != num:
            raise PreflabError(f"simulator data: samples.{name} has {len(column)} values", f"{num}, one per text", _ASK)
    if any(later < earlier for earlier, later in zip(samples["prompt"], samples["prompt"][1:], strict=False)):
        raise PreflabError("simulator data: samples are not sorted by prompt", "ascending samples.prompt", _ASK)


_ASK = "make the data with simulator_data"
