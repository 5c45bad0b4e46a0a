"""The load of a stage: the roles, models, tokens of a micro-batch and decoded rows that it holds at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from preflab.settings.learning import OptimiserSettings

ON_POLICY = ("ppo", "grpo", "online_dpo")
"""Kinds of stages that sample while they learn."""
SCORING = ("reward", "rating", "classifier")
"""Kinds of stages that train a model without a language-model head."""
LEARNING = ("sft", *SCORING, "dpo", *ON_POLICY, "ilql")
"""Kinds of stages that train a given model."""
KINDS = (*LEARNING, "sample")
"""Kinds of stages whose memory is predicted."""
USUAL_RANK = 16
"""Rank of adapters by default."""


@dataclass(frozen=True)
class Load:
    """The quantities of one stage that decide its memory."""

    kind: str
    """The kind of the stage, one of `KINDS`, or `evaluate`."""
    roles: int
    """Trained roles: 0 for a stage that only samples, 2 for PPO, whose value is a role of its own."""
    models: int
    """Further frozen models of the same size: a reference with full fine-tuning, a reward model of its own."""
    lora: bool
    half: bool
    tokens: int
    """N, tokens of the largest micro-batch."""
    checkpointing: bool = False
    rows: int = 0
    """R, completions decoded in parallel; 0: nothing is sampled."""
    row_tokens: int = 0
    """T, tokens of a decoded completion with its prompt."""
    rank: int = USUAL_RANK
    """r."""
    adapters: int = 0
    """Frozen adapters on the trained base, such as that of a reward model."""
    several: bool = True
    """Whether an optimiser step has several micro-batches, so that gradients exist beside activations."""
    four_bit: bool = False
    """Whether the base's linear layers are stored in 4 bits (`lora.base: nf4`)."""
    eight_bit: bool = False
    """Whether the optimiser's states take 8 bits each (`optimiser.states: 8bit`)."""
    prompt_tokens: int = 0
    """U · P, tokens of the distinct prompts of the completions that are decoded in parallel."""


@dataclass(frozen=True)
class Lengths:
    """Tokens of the rows that a stage reads; a row's length decides how many fit into a micro-batch."""

    prompt: int
    """Tokens of the longest prompt."""
    completion: int
    """Tokens of the longest completion in the data, with its end token. Sampled ones have `max_new_tokens`."""


def load_of(
    kind: str, settings: Any, lengths: Lengths, *, half: bool = False, foreign_rewards: int | None = None
) -> Load:
    """The load of a stage with these settings.

    Args:
        kind: the kind of the stage.
        settings: its settings, such as `settings.ppo.PpoSettings`.
        lengths: tokens of its rows.
        half: whether it computes in 16 bits.
        foreign_rewards: reward models that do not share the policy's base; None: with LoRA none, with full
            fine-tuning each of the recipe's reward models.
    """
    lora = getattr(settings, "lora", None)
    decoded, decoded_tokens = _decoding(kind, settings, lengths)
    if kind == "sample":
        prompts = _prompt_tokens(settings, lengths, decoded)
        return Load(
            kind, 0, 0, False, half, 0, rows=decoded, row_tokens=decoded_tokens, several=False, prompt_tokens=prompts
        )
    optimiser: OptimiserSettings = settings.optimiser
    rewards = sum(source.model is not None or source.ensemble != () for source in getattr(settings, "rewards", ()))
    own = foreign_rewards if foreign_rewards is not None else 0 if lora else rewards
    row, rows = _row(kind, settings, lengths), rows_per_step(kind, settings)
    budget = optimiser.tokens_per_micro_batch
    at_once = max(1, min(rows, (budget if isinstance(budget, int) else 2**62) // row))
    return Load(
        kind=kind,
        roles=2 if kind == "ppo" else 1,
        models=own + (0 if lora else _references(kind, settings)),
        lora=lora is not None,
        half=half,
        tokens=at_once * row,
        checkpointing=optimiser.gradient_checkpointing is True,
        rank=lora.rank if lora else USUAL_RANK,
        adapters=max(0, rewards - own),
        several=rows > at_once,
        rows=decoded,
        row_tokens=decoded_tokens,
        four_bit=lora is not None and lora.base == "nf4",
        eight_bit=optimiser.states == "8bit",
        prompt_tokens=_prompt_tokens(settings, lengths, decoded),
    )


def rows_per_step(kind: str, settings: Any) -> int:
    """Completions that pass through the model in one optimiser step; rankings and groups of data count as pairs."""
    if kind == "sft":
        return int(settings.num_sequences_per_step)
    if kind == "reward":
        return int(2 * settings.num_rankings_per_step)
    if kind == "dpo":
        return int(2 * settings.num_groups_per_step)
    if kind == "classifier":
        return int(settings.num_texts_per_step)
    if kind in ("grpo", "online_dpo"):
        num = settings.num_prompts_per_step * settings.num_completions_per_prompt
        return max(1, num // settings.num_minibatches)
    if kind == "ppo":
        return max(1, settings.num_completions_per_step // settings.num_minibatches)
    return int(settings.num_completions_per_step)


def _row(kind: str, settings: Any, lengths: Lengths) -> int:
    """Tokens of the longest row that passes through the model; of a shared prompt each completion counts its part.

    For models that cannot share prompts (`models.prompt_sharing`) this is too little.
    """
    sampled = kind in ON_POLICY
    completion = settings.decoding.max_new_tokens if sampled else lengths.completion
    row = int(completion + -(-lengths.prompt // _completions_per_row(kind, settings, lengths.prompt, completion)))
    return row if sampled else min(row, getattr(settings, "max_tokens", None) or row)


def _completions_per_row(kind: str, settings: Any, prompt: int, completion: int) -> int:
    """Completions of one prompt in a row of at most a micro-batch; rankings and groups of data count as pairs."""
    if not getattr(settings, "share_prompts", False):
        return 1
    num = settings.num_completions_per_prompt if kind in ON_POLICY else 2
    budget = settings.optimiser.tokens_per_micro_batch
    fitting = (budget - prompt) // max(1, completion) if isinstance(budget, int) else num
    return int(max(1, min(num, fitting)))


def _references(kind: str, settings: Any) -> int:
    """Frozen copies of the reference with full fine-tuning."""
    if kind == "dpo":
        return int(settings.watch.num_samples > 0 or settings.reference not in (None, settings.model))
    return int(kind in (*ON_POLICY, "ilql"))


def _decoding(kind: str, settings: Any, lengths: Lengths) -> tuple[int, int]:
    """(R, T): the completions that a stage decodes in parallel, and the tokens of each; zeros if it decodes none."""
    if kind in SCORING or kind == "sft" or (kind == "dpo" and not settings.watch.num_samples):
        return 0, 0
    if kind in ("sample", "ilql"):
        num, decoding = settings.max_batch_rows, settings
    elif kind == "dpo":
        num, decoding = settings.watch.num_samples, settings.watch.decoding
    elif kind == "ppo":
        num, decoding = settings.num_completions_per_step, settings.decoding
    else:
        num, decoding = settings.num_prompts_per_step * settings.num_completions_per_prompt, settings.decoding
    return min(num, decoding.max_batch_rows), lengths.prompt + decoding.max_new_tokens


def _prompt_tokens(settings: Any, lengths: Lengths, rows: int) -> int:
    """U · P: tokens of the prompts of this many rows, of which the completions of one prompt share one."""
    each = getattr(settings, "num_completions_per_prompt", None) or getattr(settings, "num_completions", None) or 1
    return -(-rows // int(each)) * lengths.prompt
