"""A first recipe as YAML with its comments: what was found, what was assumed, and the stages."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import yaml

from preflab.starter.stages_of import Given, Stage

WIDTH = 110


def recipe_text(given: Given, assumed: Sequence[str], data: dict[str, Any], threads: int) -> str:
    """The whole file.

    Args:
        given: what the recipe is made from.
        assumed: sentences that stand above it.
        data: settings of the one entry of `data`.
        threads: of the processor.
    """
    from preflab.starter.stages_of import stages_of

    head = [
        "# Written by `preflab init` for the model and the data below; run it with `preflab run`.",
        "# Every setting with its default and its source: `preflab init --show ppo` (or sft, reward, dpo, …).",
        "#",
        *(line for sentence in assumed for line in _comment(sentence)),
    ]
    device = {"threads": threads, "precision": given.fit.precision}
    parts = [
        "recipe: 1",
        "seed: 0",
        "",
        "device:",
        _block(device, 2),
        "",
        "data:",
        f"  {given.name}:",
        _block(data, 4),
    ]
    parts += ["", "stages:"]
    for stage in stages_of(given):
        parts += [_stage(stage), ""]
    return "\n".join([*head, *parts]).rstrip() + "\n"


def _stage(stage: Stage) -> str:
    return "\n".join(
        [f"  {stage.name}:", *(f"    {line}" for line in _comment(stage.comment)), _block(_given(stage), 4)]
    )


def _given(stage: Stage) -> dict[str, Any]:
    """Settings that say something; `lora: null` does."""
    return {name: value for name, value in stage.settings.items() if value is not None or name == "lora"}


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text, WIDTH, subsequent_indent="  ")]


def _block(content: dict[str, Any], indent: int) -> str:
    """One line per setting, what it holds in brackets behind it."""
    lines = [f"{name}: {_flow(value)}" for name, value in content.items()]
    return textwrap.indent("\n".join(lines), " " * indent)


def _flow(value: Any) -> str:
    text = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=10_000, default_flow_style=True)
    return text.strip().removesuffix("\n...").strip()
