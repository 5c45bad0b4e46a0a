"""Write a first recipe as YAML, with comments that explain the data, the assumptions and the stages."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import yaml

from preflab.starter.stages_of import Given, Stage

WIDTH = 110


def recipe_text(given: Given, assumed: Sequence[str], data: dict[str, Any], threads: int) -> str:
    """The text of the recipe file.

    Args:
        given: the choices of the recipe.
        assumed: sentences for the comment at the top.
        data: settings of the entry under `data`.
        threads: CPU threads.
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
        [f"  {stage.name}:", *(f"    {line}" for line in _comment(stage.comment)), _block(_settings_to_write(stage), 4)]
    )


def _settings_to_write(stage: Stage) -> dict[str, Any]:
    """The stage's settings without None, except `lora: null`, which means full fine-tuning."""
    return {name: value for name, value in stage.settings.items() if value is not None or name == "lora"}


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text, WIDTH, subsequent_indent="  ")]


def _block(content: dict[str, Any], indent: int) -> str:
    """One line per setting, with nested values in flow style."""
    lines = [f"{name}: {_flow(value)}" for name, value in content.items()]
    return textwrap.indent("\n".join(lines), " " * indent)


def _flow(value: Any) -> str:
    text = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=10_000, default_flow_style=True)
    return text.strip().removesuffix("\n...").strip()
