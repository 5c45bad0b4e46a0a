"""Choices of a first recipe: the held-out share, settings that fit into memory, the length of the first run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from preflab.errors import PreflabError
from preflab.memory.arithmetic import Estimate, estimate
from preflab.memory.free import USED, gib
from preflab.memory.load import Load
from preflab.starter.data_look import DataLook
from preflab.starter.kind_of_learning import Kind
from preflab.starter.lengths import Lengths
from preflab.starter.machine import Machine
from preflab.starter.model_look import ModelLook

SHARES = (0.1, 0.2, 0.3, 0.5)
"""Shares of the prompts that may be held out; the first that holds out enough prompts is taken."""
MOST = 0.3
"""Largest share that is normally held out; larger ones are for data too small for it."""
WANTED_HELD_OUT = 20
"""Held-out prompts wanted for a useful evaluation; small data may have fewer."""
APART = 100
"""Fewest held-out prompts on which a separate judge, other than the training reward, is trained."""
FEWEST = 4
"""Fewest different prompts: two to learn from and two to hold out."""
BUDGET_S = 900
"""Seconds of computing that a first run should take."""
FLOPS_PER_THREAD, FLOPS_GPU = 2e10, 5e13
"""Operations per second in float32 on one CPU core, and in bfloat16 on a GPU; guesses for common machines."""
PASS_S = 1e-3
"""Least seconds that one layer takes for one token, however small the model; a guess for common machines."""
FEWEST_ROWS = 500
"""Fewest rows of the data that a first run reads."""
EVALUATED = 100
"""Most prompts of a first evaluation."""


@dataclass(frozen=True)
class Split:
    """The held-out share, with the number of prompts in each part."""

    share: float
    num_train: int
    num_held_out: int
    num_usual: int
    """Prompts that the usual share, the first of `SHARES`, would hold out."""

    @property
    def judge_apart(self) -> bool:
        """Whether there are enough held-out prompts to train a separate judge on them."""
        return self.num_held_out >= APART


@dataclass(frozen=True)
class Fit:
    """Settings with which the stages fit into memory."""

    precision: str
    tokens: int
    """tokens_per_micro_batch."""
    checkpointing: bool
    lora: bool
    max_tokens: int | None
    """Longer rows are left out; None: the model's context is the limit."""
    rows: int
    """Completions decoded in parallel."""
    heaviest: Estimate
    """Memory of the stage that needs most."""


def held_out_split(data: DataLook, *, judge: bool) -> Split:
    """Choose the share of prompts to hold out.

    Args:
        data: the data.
        judge: whether to prefer a share with which a separate judge can be trained on the held-out part.

    Raises:
        PreflabError: there are too few prompts.
    """
    places = list(data.places().values())
    splits = [_count_split(places, share) for share in SHARES]
    usable = [each for each in splits if _has_both_parts(places, each.share)]
    if not usable:
        num = len(set(places))
        what = "texts" if data.sort == "texts" else "prompts"
        raise PreflabError(
            f"{data.path}: {num} different {what}"
            + (", and the random split leaves one part too small" if num > 3 else ""),
            f"at least {FEWEST}: two or more to learn from, two or more to hold out",
            "add rows",
        )
    moderate = [each for each in usable if each.share <= MOST] or usable
    if judge and (apart := next((each for each in moderate if each.judge_apart), None)):
        return apart
    enough = next((each for each in moderate if each.num_held_out >= WANTED_HELD_OUT), None)
    return enough or moderate[min(1, len(moderate) - 1)]


def _count_split(places: Sequence[float], share: float) -> Split:
    from preflab.stages.common.data import in_split

    held_out, usual = (sum(in_split(place, "held_out", each) for place in places) for each in (share, SHARES[0]))
    return Split(share, len(places) - held_out, held_out, usual)


def _has_both_parts(places: Sequence[float], share: float) -> bool:
    """Whether each part has at least two different prompts; one prompt with several sets of columns counts once."""
    different = _count_split(sorted(set(places)), share)
    return min(different.num_held_out, different.num_train) >= FEWEST // 2


def fit_into_memory(kind: Kind, model: ModelLook, lengths: Lengths, machine: Machine) -> Fit:
    """The first settings, in order of preference, with which every stage fits into `USED` of the free memory.

    Memory is saved in this order: smaller micro-batches, fewer completions in parallel, checkpointing, half precision
    (on a CPU), and leaving out rows that are longer than 95 % of the others.

    Raises:
        PreflabError: no settings fit.
    """
    tried: list[Estimate] = []
    for fit in _candidate_fits(kind, model, lengths, machine):
        tried.append(fit.heaviest)
        if fit.heaviest.total <= USED * machine.free:
            return fit
    least = min(tried, key=lambda each: each.total)
    raise PreflabError(
        f"{model.ref}: stage {least.load.kind} needs at least about {gib(least.total)}; there is {machine.said}",
        f"a machine with {gib(least.total / USED)} or more, or a smaller model",
        "choose a smaller model, or give the memory of the machine that will run the recipe with --memory GIB",
    )


def _candidate_fits(kind: Kind, model: ModelLook, lengths: Lengths, machine: Machine) -> Iterator[Fit]:
    longest = lengths.rows.longest if lengths.rows else lengths.prompts.longest + lengths.max_new_tokens
    usual = lengths.rows.most_of if lengths.rows else lengths.prompts.most_of + lengths.max_new_tokens
    context = model.context or 2**31
    halves = (True,) if machine.half else (False, True)
    fulls = (False, True) if kind == "sft" else (True,)
    for limit, half, checkpointing, rows, tokens in product(
        dict.fromkeys((min(longest, context), min(usual, context))),
        halves,
        (False, True),
        (64, 16),
        (4096, 2048, 1024, 512),
    ):
        for lora in fulls:
            loads = _loads(
                kind, lengths, lora=lora, half=half, tokens=max(tokens, limit), rows=rows, checked=checkpointing
            )
            fits = [estimate(model.sizes, load, accelerator=bool(machine.accelerator)) for load in loads]
            heaviest = max(fits, key=lambda each: each.total)
            if not lora and heaviest.total > USED / 2 * machine.free:
                continue  # full fine-tuning only if it takes at most half of the usable memory, else adapters
            cut = None if limit == min(longest, context) else limit
            precision = "auto" if machine.half else "bfloat16" if half else "float32"
            yield Fit(precision, tokens, checkpointing, lora, cut, rows, heaviest)


def _loads(
    kind: Kind, lengths: Lengths, *, lora: bool, half: bool, tokens: int, rows: int, checked: bool
) -> list[Load]:
    """The memory loads of the stages in a first recipe of this kind."""
    drawn = lengths.prompts.most_of + lengths.max_new_tokens
    reward = Load("reward", 1, 0, True, half, tokens, checked)
    # The evaluation has the reference, the sampling model, and a reward model with its own base in memory.
    evaluation = Load("evaluate", 0, 2, True, half, 0, rows=rows, row_tokens=drawn)
    return {
        "sft": [Load("sft", 1, 0, lora, half, tokens, checked), evaluation],
        "dpo": [Load("dpo", 1, 0, True, half, tokens, checked, rows=rows, row_tokens=drawn), reward, evaluation],
        "reward": [reward],
        "ppo": [reward, Load("ppo", 2, 0, True, half, tokens, checked, rows=rows, row_tokens=drawn), evaluation],
        "grpo": [reward, Load("grpo", 1, 0, True, half, tokens, checked, rows=rows, row_tokens=drawn), evaluation],
    }[kind]


@dataclass(frozen=True)
class Pace:
    """The length of the first run."""

    num_steps: int
    """Steps of the on-policy stage; 0 without one."""
    num_completions: int
    """Completions per step."""
    seconds: float
    """A rough estimate of the whole run's time."""


def rows_to_read(kind: Kind, data: DataLook, model: ModelLook, lengths: Lengths, machine: Machine) -> int | None:
    """The number of rows that can be learned in `BUDGET_S` seconds, at most those inspected; None: all rows."""
    most = data.num_rows
    if kind != "grpo" or data.judged:
        per_row = _seconds_per_row(data, model, lengths, machine)
        most = max(FEWEST_ROWS, round(BUDGET_S / per_row)) if per_row else most
    return min(most, data.num_rows) if most < data.num_rows or not data.whole else None


def _seconds_per_row(data: DataLook, model: ModelLook, lengths: Lengths, machine: Machine) -> float:
    """Time to learn one row: 6 · P operations for each token of all its completions."""
    row = lengths.rows.median if lengths.rows else 0
    return 6 * model.sizes.num_parameters * row * max(1.0, len(data.judged) / max(1, data.num_rows)) / _speed(machine)


def _speed(machine: Machine) -> float:
    return FLOPS_GPU if machine.accelerator else FLOPS_PER_THREAD * machine.num_threads


def plan_pace(kind: Kind, data: DataLook, model: ModelLook, lengths: Lengths, machine: Machine, split: Split) -> Pace:
    """Plan a first run of about `BUDGET_S` seconds, at 6 · P operations per token learned and 2 · P per token read.

    Args:
        kind: the kind of learning.
        data: the rows that are read.
        model: the model's sizes.
        lengths: token counts of the rows.
        machine: the machine's speed.
        split: the split of the rows that are read.
    """
    learned = data.num_rows * _seconds_per_row(data, model, lengths, machine)
    if kind not in ("ppo", "grpo"):
        return Pace(0, 0, learned)
    completions = 64 if split.num_train >= 16 else 4 * max(2, split.num_train // 2)
    tokens = completions * (lengths.prompts.median + lengths.max_new_tokens)
    passes = 2 + 3 * 2 + (4 * 6 if kind == "ppo" else 6)
    per_step = tokens * model.sizes.num_parameters * passes / _speed(machine)
    per_step += lengths.max_new_tokens * model.sizes.num_layers * PASS_S
    steps = max(5, min(40, round(BUDGET_S / per_step)))
    return Pace(steps, completions, learned + steps * per_step)
