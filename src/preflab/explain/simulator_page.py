"""The simulator as one self-contained HTML page: what other rewards and KL penalties would have made of a policy."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from preflab.errors import PreflabError
from preflab.explain.curve import LEAST, MOST, NUM_POINTS
from preflab.explain.pareto import LIMIT
from preflab.explain.weights import ERRORS_MOVED, FEWEST_EFFECTIVE, LEAST_MOVED, MOST_THIN, REACH

HERE = Path(__file__).parent
STYLES = (HERE.parent / "look.css", HERE / "static" / "simulator.css")
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
    "MOST_BETA": MOST,
    "LEAST_BETA": LEAST,
    "NUM_POINTS": NUM_POINTS,
}
"""Constants of the page's script: when a point is unsure, and the curve's values of β."""
UNSAFE = re.compile("[<>&\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufffe\uffff\ud800-\udfff]")
"""Characters that end a script, that could reorder the source, or that UTF-8 cannot store; JSON writes them as \\u…"""


def simulator_page(data: Mapping[str, Any]) -> str:
    """The page as HTML; it opens offline by double click.

    Args:
        data: what `simulator_data` returns; docs/reference/rollouts.md describes it.

    Raises:
        PreflabError: the data have another schema, no samples, columns of different lengths or unsorted prompts.
    """
    _check(data)
    script = _script()
    return (
        _environment()
        .get_template("simulator.html.j2")
        .render(
            title=data["title"],
            policy=_content_policy(script, live=data.get("live") is not None),
            style=Markup("".join(file.read_text(encoding="utf-8") for file in STYLES)),
            script=Markup(script),
            data=Markup(json_for_page(data)),
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
    )


def json_for_page(data: Mapping[str, Any]) -> str:
    """JSON that no text in it can break out of, that UTF-8 can store, and that is shown in the order it is read in.

    Raises:
        PreflabError: a number is nan or infinite.
    """
    try:
        text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError as error:
        raise PreflabError(
            f"simulator data: {error}", "finite numbers", "write null where a quantity does not exist"
        ) from None
    return UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _script() -> str:
    constants = "".join(f"const {name} = {value:g};\n" for name, value in LIMITS.items())
    parts = [(HERE / "static" / f"simulator-{part}.js").read_text(encoding="utf-8") for part in SCRIPTS]
    return constants + "".join(parts)


def _content_policy(script: str, live: bool) -> str:
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    connect = "; connect-src 'self'" if live else ""
    return f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; img-src data:{connect}"


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


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("preflab.explain"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
