"""Tells the user once if plain-text prompts go to a model with a chat template without that template."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from preflab import progress
from preflab.errors import PreflabError
from preflab.recipe import Recipe
from preflab.recipe.references import references
from preflab.words import count

if TYPE_CHECKING:
    from preflab.records import Prompt

AS_TURNS = "`as_turns: true` under data.{} makes each a user's turn"


class PromptReader(Protocol):
    """The part of `stages.base.StageContext` that this module uses."""

    spoken_of: set[str]

    @property
    def name(self) -> str: ...
    @property
    def settings(self) -> Any: ...
    @property
    def recipe(self) -> Recipe: ...
    @property
    def is_main_process(self) -> bool: ...
    def model_folder(self, ref: str) -> Path | str:
        """The folder of a model named by the stage, or its Hub id."""


def say_plain_texts(ctx: PromptReader, name: str, prompts: Sequence[Prompt], *, completed: bool = False) -> None:
    """Prints once per stage and data how many prompts are plain text, if a model of the stage has a chat template.

    Nothing is printed if the data set `as_turns` (true or false), or for texts to learn from, which have no prompt.

    Args:
        ctx: the stage; its `spoken_of` remembers for which data this was done.
        name: name of the recipe's data, with or without a split.
        prompts: the prompts as read.
        completed: whether the prompts have completions, which are also used without a template.
    """
    base = name.partition(".")[0]
    settings = ctx.recipe.data.get(base)
    if settings is None or base in ctx.spoken_of or not ctx.is_main_process:
        return
    if "as_turns" in settings.model_fields_set:
        return
    num = sum(bool(prompt.text) for prompt in prompts)
    models = _with_template(ctx) if num else []
    ctx.spoken_of.add(base)
    if models:
        some = "" if num == len(prompts) else f"{num:,} of "
        beside = " with their completions" if completed else ""
        progress.say(
            f"{ctx.name}: {some}{count(len(prompts), 'prompt')} of {Path(settings.path).name} "
            f"{'is' if num == 1 else 'are'} plain text, passed to {', '.join(models)}{beside} without a chat template; "
            f"{AS_TURNS.format(base)}"
        )


def _with_template(ctx: PromptReader) -> list[str]:
    """The stage's own models (not references or judges) that have a chat template, as the recipe names them."""
    named = [
        word
        for refers, word, place in references(ctx.settings)
        if refers == "model" and place[0] in ("model", "models")
    ]
    return [word for word in dict.fromkeys(named) if has_chat_template(ctx.model_folder(word))]


def has_chat_template(ref: Path | str) -> bool:
    """Whether a model has a chat template: a folder's files are inspected, the tokenizer of a Hub id is loaded."""
    from preflab.models.packages import resolve_package

    place = resolve_package(ref)
    if not Path(place).is_dir():
        from preflab.models.loading import load_tokenizer

        try:
            return getattr(load_tokenizer(place, writes=False), "chat_template", None) is not None
        except PreflabError:  # the stage that loads the model reports the error
            return False
    if (Path(place) / "chat_template.jinja").is_file():
        return True
    try:
        settings = json.loads((Path(place) / "tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # missing or broken: the stage that loads it reports that
        return False
    return isinstance(settings, dict) and bool(settings.get("chat_template"))
