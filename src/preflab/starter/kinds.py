"""Which kind of learning the data are for, and why another one does not fit them."""

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
"""What the data are → the kind that is taken where none is named."""
FITS: dict[Sort, tuple[Kind, ...]] = {
    "pairs": ("dpo", "reward", "ppo", "grpo"),
    "ratings": ("ppo", "reward", "grpo", "dpo"),
    "thumbs": ("dpo",),
    "demonstrations": ("sft",),
    "texts": ("sft",),
    "answers": ("grpo", "ppo"),
    "prompts": (),
}
SAID: dict[Sort, str] = {
    "pairs": "comparisons: of two completions one is preferred",
    "ratings": "ratings: scores of single completions",
    "thumbs": "verdicts: single completions called good or bad",
    "demonstrations": "demonstrations: prompts with the completion to learn",
    "texts": "texts alone, for language modelling",
    "answers": "prompts with an answer to check completions against",
    "prompts": "prompts alone",
}
WHY: dict[tuple[Sort, Kind], str] = {
    ("thumbs", "reward"): "good and bad do not say which of two is better, and are no scores",
    ("thumbs", "ppo"): "PPO needs a reward, and good and bad alone give none; KTO (kind dpo) learns from them",
    ("thumbs", "grpo"): "GRPO needs a reward, and good and bad alone give none; KTO (kind dpo) learns from them",
    ("thumbs", "sft"): "nothing says that the good ones are to be imitated word for word",
    ("pairs", "sft"): "the preferred of two is not always good enough to be imitated",
    ("ratings", "sft"): "nothing says that a completion is to be imitated word for word",
    ("demonstrations", "dpo"): "nothing was compared",
    ("demonstrations", "reward"): "nothing was judged",
    ("demonstrations", "ppo"): "PPO needs a reward, and demonstrations give none",
    ("demonstrations", "grpo"): "GRPO needs a reward, and demonstrations give none",
    ("answers", "dpo"): "there are no completions to compare",
    ("answers", "reward"): "there are no completions to judge",
    ("answers", "sft"): "an answer to check is no completion to imitate",
}
REWARDS = (
    "a reward for these prompts: a column `answer` to check against (kind grpo), pairs or ratings of completions (kind "
    "ppo), or a function of your own (docs/how-to/reward-function.md)"
)


def _refuse_undecided(data: DataLook) -> None:
    """Judgments that tell nothing apart.

    Raises:
        PreflabError: only ties, or verdicts that are all the same.
    """
    if data.sort == "pairs" and not data.num_pairs:
        raise PreflabError(
            f"{data.path}: {count(len(data.preferences), 'comparison')}, and in none is one of two preferred",
            "at least some that are no ties",
            "look at the judgments",
        )
    up = [share for preference in data.preferences for share in preference.thumbs if share is not None]
    if data.sort == "thumbs" and not min(up) < 0.5 < max(up):
        raise PreflabError(
            f"{data.path}: {count(len(up), 'verdict')}, all of them {'good' if max(up) > 0.5 else 'bad'}",
            "completions that were called good and others that were called bad",
            "collect both",
        )


def chosen_kind(data: DataLook, model: ModelLook, wanted: str | None) -> Kind:
    """The kind named, if it fits the data and the model; else the usual one for such data.

    Raises:
        PreflabError: no such kind, one that does not fit, or prompts alone, with the reason and the choices.
    """
    if wanted is not None and wanted not in KINDS:
        raise PreflabError(f"--kind {wanted}", f"one of {', '.join(KINDS)}", "mend the name")
    sort = data.sort
    if sort == "prompts":
        asked = f", and --kind {wanted} needs more" if wanted else ""
        raise PreflabError(f"{data.path}: {SAID[sort]}{asked}", REWARDS, "name other data with --data")
    kind: Kind = wanted or USUAL[sort]
    if kind not in FITS[sort]:
        why = WHY.get((sort, kind), "they hold nothing that it could learn")
        raise PreflabError(
            f"{data.path} holds {SAID[sort]}; --kind {kind} does not fit: {why}",
            f"--kind {' or '.join(FITS[sort])}",
            "leave out --kind, or name other data",
        )
    _refuse_undecided(data)
    if not model.causal and kind != "reward":
        raise PreflabError(
            f"{model.ref} ({model.architecture}) has no language-model head, or sees tokens to come: it writes nothing",
            "a model that writes from left to right, or --kind reward: this one can score",
            "choose another model",
        )
    return kind
