"""Choose the kind of learning for the data, and explain why another kind does not fit."""

from __future__ import annotations

from typing import Literal

from preflab.errors import PreflabError
from preflab.starter.data_look import DataLook, Sort
from preflab.starter.model_look import ModelLook
from preflab.words import count

Kind = Literal["dpo", "reward", "ppo", "grpo", "sft"]
KINDS: tuple[Kind, ...] = ("dpo", "reward", "ppo", "grpo", "sft")
USUAL: dict[Sort, Kind] = {
    "pairs": "dpo",
    "ratings": "ppo",
    "thumbs": "dpo",
    "demonstrations": "sft",
    "texts": "sft",
    "answers": "grpo",
}
"""Type of the data → the kind taken by default."""
FITS: dict[Sort, tuple[Kind, ...]] = {
    "pairs": ("dpo", "reward", "ppo", "grpo"),
    "ratings": ("ppo", "reward", "grpo", "dpo"),
    "thumbs": ("dpo",),
    "demonstrations": ("sft",),
    "texts": ("sft",),
    "answers": ("grpo", "ppo"),
    "prompts": (),
}
"""Type of the data → the kinds that can learn from them."""
SAID: dict[Sort, str] = {
    "pairs": "comparisons: of two completions one is preferred",
    "ratings": "ratings: scores of single completions",
    "thumbs": "verdicts: single completions marked good or bad",
    "demonstrations": "demonstrations: prompts with the completion to learn",
    "texts": "texts alone, for language modelling",
    "answers": "prompts with an answer to check completions against",
    "prompts": "prompts alone",
}
"""Type of the data → its description."""
WHY: dict[tuple[Sort, Kind], str] = {
    ("thumbs", "reward"): "good and bad are neither comparisons nor scores",
    ("thumbs", "ppo"): "PPO needs a reward, and good and bad alone give none; KTO (kind dpo) learns from them",
    ("thumbs", "grpo"): "GRPO needs a reward, and good and bad alone give none; KTO (kind dpo) learns from them",
    ("thumbs", "sft"): "a good completion is not always good enough to imitate word for word",
    ("pairs", "sft"): "the preferred completion is not always good enough to imitate",
    ("ratings", "sft"): "a rated completion is not always good enough to imitate",
    ("demonstrations", "dpo"): "there are no comparisons",
    ("demonstrations", "reward"): "there are no judgments",
    ("demonstrations", "ppo"): "PPO needs a reward, and demonstrations give none",
    ("demonstrations", "grpo"): "GRPO needs a reward, and demonstrations give none",
    ("answers", "dpo"): "there are no completions to compare",
    ("answers", "reward"): "there are no completions to judge",
    ("answers", "sft"): "an answer to check against is not a completion to imitate",
}
"""(Type of the data, kind) → the reason why the kind does not fit."""
REWARDS = (
    "a reward for these prompts: a column `answer` to check against (kind grpo), pairs or ratings of completions (kind "
    "ppo), or a function of your own (docs/how-to/reward-function.md)"
)


def _refuse_undecided(data: DataLook) -> None:
    """Refuse judgments that prefer nothing.

    Raises:
        PreflabError: there are only ties, or all verdicts are the same.
    """
    if data.sort == "pairs" and not data.num_pairs:
        raise PreflabError(
            f"{data.path}: {count(len(data.preferences), 'comparison')}, all of them ties",
            "at least some comparisons with a preferred completion",
            "check the judgments",
        )
    up = [share for preference in data.preferences for share in preference.thumbs if share is not None]
    if data.sort == "thumbs" and not min(up) < 0.5 < max(up):
        raise PreflabError(
            f"{data.path}: {count(len(up), 'verdict')}, all of them {'good' if max(up) > 0.5 else 'bad'}",
            "completions marked good and others marked bad",
            "collect both",
        )


def choose_kind(data: DataLook, model: ModelLook, wanted: str | None) -> Kind:
    """The kind named by `wanted`, else the usual one for such data; checked against data and model.

    Raises:
        PreflabError: the kind is unknown or does not fit, or the data are prompts alone; it gives reason and choices.
    """
    if wanted is not None and wanted not in KINDS:
        raise PreflabError(f"--kind {wanted}", f"one of {', '.join(KINDS)}", "correct the name")
    sort = data.sort
    if sort == "prompts":
        asked = f", and --kind {wanted} needs more" if wanted else ""
        raise PreflabError(f"{data.path}: {SAID[sort]}{asked}", REWARDS, "name other data with --data")
    kind: Kind = wanted or USUAL[sort]
    if kind not in FITS[sort]:
        why = WHY.get((sort, kind), "this kind cannot learn from them")
        raise PreflabError(
            f"{data.path} holds {SAID[sort]}; --kind {kind} does not fit: {why}",
            f"--kind {' or '.join(FITS[sort])}",
            "leave out --kind, or name other data",
        )
    _refuse_undecided(data)
    if not model.causal and kind != "reward":
        raise PreflabError(
            f"{model.ref} ({model.architecture}) cannot generate text: no language-model head, or not causal",
            "a causal language model, or --kind reward, for which this model can be used",
            "choose another model",
        )
    return kind
