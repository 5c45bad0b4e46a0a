"""Reads the texts that people wrote for the prompts of an evaluation, and measures ROUGE against them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preflab.errors import PreflabError, nearest
from preflab.evaluation.rouge import KINDS, Rouge, best_rouge
from preflab.progress import mode_for
from preflab.recipe import Recipe
from preflab.records import Completion, Prompt
from preflab.settings.evaluation import EvaluateSettings
from preflab.words import count

Array = NDArray[np.float64]
Texts = tuple[str, ...]
HUMAN = "human"
"""Name of the contestant whose completions are the reference texts."""
SHOWN = 3
"""Most lines named in an error."""


def read_reference_texts(prompts: Sequence[Prompt], columns: Sequence[str]) -> list[Texts]:
    """The reference texts of each prompt, at least one, in the order of the columns.

    Raises:
        PreflabError: no prompt has one of the columns, a column holds something else than texts, or a prompt has no
            text in any of them; names the lines.
    """
    _check_columns(prompts, columns)
    texts_of = [_texts_of(prompt, columns) for prompt in prompts]
    without = [prompt for prompt, texts in zip(prompts, texts_of, strict=True) if not texts]
    if without:
        lines = ", ".join(prompt.source or repr(prompt.shown[:60]) for prompt in without[:SHOWN])
        more = f" and {len(without) - SHOWN:,} more" if len(without) > SHOWN else ""
        raise PreflabError(
            f"reference_texts: {len(without):,} of {count(len(prompts), 'prompt')} without a text in "
            f"{', '.join(columns)}: {lines}{more}",
            "a reference text for every prompt, so that every model is measured on the same ones",
            "add the texts, or put prompts without one into a file of their own",
        )
    return texts_of


def check_reference_texts(recipe: Recipe, settings: EvaluateSettings) -> None:
    """Reads the prompts of an evaluation before any stage runs, if they are in a local file, and checks their columns.

    The texts of single prompts are checked too, unless some of the prompts may be left out.

    Raises:
        PreflabError: see `read_reference_texts`; or `gather` names a column that no prompt has.
    """
    from preflab.stages.common.data import read_prompts

    if not recipe.data_path(settings.prompts.partition(".")[0]).is_file():
        return
    with mode_for("silent"):  # the stage will say how it reads the file
        prompts = read_prompts(recipe, settings.prompts)
    _check_columns(prompts, settings.reference_texts)
    if settings.too_long == "refuse":
        read_reference_texts(prompts[: settings.max_prompts], settings.reference_texts)


def _check_columns(prompts: Sequence[Prompt], columns: Sequence[str]) -> None:
    known = list(dict.fromkeys(name for prompt in prompts for name in prompt.columns))
    for column in columns:
        if column not in known:
            near = nearest(column, known)
            raise PreflabError(
                f"reference_texts: the prompts have no column `{column}`",
                f"columns found: {', '.join(known) or 'none'}" + (f"; near it: {near}" if near else ""),
                "name another column, or rename it with `columns` of the data",
            )


def _texts_of(prompt: Prompt, columns: Sequence[str]) -> Texts:
    texts: list[str] = []
    for column in columns:
        value = prompt.columns.get(column)
        for text in value if isinstance(value, list) else [value]:
            if text is not None and not isinstance(text, str):
                raise PreflabError(
                    f"{prompt.source or prompt.shown[:60]!r}: the column `{column}` holds {value!r}",
                    "a text or a list of texts",
                    "mend the row",
                )
            if text and text.strip():
                texts.append(text.strip())
    return tuple(texts)


def human_completions(prompts: Sequence[Prompt], texts: Sequence[Texts]) -> list[Completion]:
    """The first reference text of each prompt as a completion of the contestant `human`."""
    return [
        Completion.make(prompt.id, first, HUMAN, finish_reason="imported")
        for prompt, (first, *_) in zip(prompts, texts, strict=True)
    ]


def rouge_columns(texts: Sequence[str], references: Sequence[Texts], *, stems: bool = False) -> dict[str, Array]:
    """Measure → (N,): `rouge/1`, `rouge/2` and `rouge/l` (F1), each with `/precision` and `/recall`."""
    columns: dict[str, Any] = {}
    for kind in KINDS:
        pairs = zip(texts, references, strict=True)
        scores: list[Rouge] = [best_rouge(kind, text, wanted, stems=stems) for text, wanted in pairs]
        columns[f"rouge/{kind}"] = np.array([one.f1 for one in scores])
        columns[f"rouge/{kind}/precision"] = np.array([one.precision for one in scores])
        columns[f"rouge/{kind}/recall"] = np.array([one.recall for one in scores])
    return columns


def human_rouge(references: Sequence[Texts], *, stems: bool = False) -> dict[str, Array]:
    """ROUGE of each prompt's first reference text against its others; {} unless every prompt has at least two."""
    if any(len(texts) < 2 for texts in references):
        return {}
    return rouge_columns([texts[0] for texts in references], [texts[1:] for texts in references], stems=stems)


def repeated_prompts_note(prompts: Sequence[Prompt]) -> list[str]:
    """A note if prompts with the same text are counted as different ones, which makes intervals too narrow."""
    num = len(prompts) - len({prompt.shown for prompt in prompts})
    if not num:
        return []
    have = "prompt has" if num == 1 else "prompts have"
    what_to_do = "keep one row of each, or `gather` their columns"
    return [f"{num:,} {have} the text of an earlier one and count as more prompts: {what_to_do}"]


def reference_notes(references: Sequence[Texts], num_completions: int, *, stems: bool = False) -> list[str]:
    """Notes for the reader of the figures."""
    fewest, most = min(map(len, references)), max(map(len, references))
    num = f"{count(fewest, 'reference text')}" if fewest == most else f"{fewest} to {most} reference texts"
    how = "of Porter stems" if stems else "without stemming"
    notes = [f"ROUGE is F1 {how} against {num} per prompt" + (", of several the best" if most > 1 else "")]
    if fewest > 1:
        notes.append(f"{HUMAN}: ROUGE of the first text against the others, so against one fewer than the models")
    if num_completions > 1:
        notes.append(f"{HUMAN}: one text per prompt, so no distinct-n beside {num_completions} completions")
    return notes
