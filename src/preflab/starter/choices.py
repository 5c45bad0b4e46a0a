"""What a first recipe chooses: what is held out, what fits into memory, how long the first run is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from preflab.errors import PreflabError
from preflab.starter.data_look import DataLook
from preflab.starter.kinds import Kind
from preflab.starter.lengths import Lengths
from preflab.starter.machine import Machine, gib
from preflab.starter.memory import Estimate, Load, estimate
from preflab.starter.model_look import ModelLook

SHARES = (0.1, 0.2, 0.3, 0.5)
"""Shares of the prompts that may be held out; the first that holds enough out is taken."""
MOST = 0.3
"""Larger shares are for data of which three tenths leave too few held out."""
WANTED_HELD_OUT = 20
"""Held-out prompts for an evaluation that says something; fewer where the data have few."""
APART = 100
"""Held-out prompts from which a judge can learn that is not the training reward."""
FEWEST = 4
"""Prompts below which nothing can be held out and learned: half of them on each side."""
USED = 0.85
"""Share of the free memory that may be taken: an estimate is one."""
BUDGET_S = 900
"""Seconds of computing that a first run is made for."""
FLOPS_PER_THREAD, FLOPS_GPU = 2e10, 5e13
"""Operations per second in float32 on one processor core, in bfloat16 on a GPU; guesses for common machines."""
PASS_S = 1e-3
"""Seconds that one layer takes for one token at the least, however small it is; a guess for common machines."""
FEWEST_ROWS = 500
"""A first run reads at least so many rows of the data."""
EVALUATED = 100
"""Prompts that a first evaluation uses at most."""


@dataclass(frozen=True)
class Split:
    """What is held out."""

    share: float
    num_train: int
    num_held_out: int
    """Prompts."""
    num_usual: int
    """Prompts that the usual share, the first of `SHARES`, would hold out."""

    @property
    def judge_apart(self) -> bool:
        """Whether the held-out comparisons are enough for a judge of their own."""
        return self.num_held_out >= APART


@dataclass(frozen=True)
class Fit:
    """How the stages fit into memory."""

    precision: str
    tokens: int
    """tokens_per_micro_batch."""
    checkpointing: bool
    lora: bool
    max_tokens: int | None
    """Longer rows are left out; None: the context is the limit."""
    rows: int
    """Completions decoded side by side."""
    heaviest: Estimate


def held_out_split(data: DataLook, *, judge: bool) -> Split:
    """The share of the prompts to hold out, with the numbers that the stages will find.

    Args:
        data: the data.
        judge: whether a judge could learn from the held-out part, if that is large enough.

    Raises:
        PreflabError: too few prompts.
    """
    places = list(data.places().values())
    splits = [_counted(places, share) for share in SHARES]
    usable = [each for each in splits if _on_both_sides(places, each.share)]
    if not usable:
        num = len(set(places))
        what = "texts" if data.sort == "texts" else "prompts"
        raise PreflabError(
            f"{data.path}: {num} different {what}" + (", and chance leaves too few on one side" if num > 3 else ""),
            f"at least {FEWEST}: two or more to learn from, two or more to be held out",
            "add rows",
        )
    few = [each for each in usable if each.share <= MOST] or usable
    if judge and (apart := next((each for each in few if each.judge_apart), None)):
        return apart
    enough = next((each for each in few if each.num_held_out >= WANTED_HELD_OUT), None)
    return enough or few[min(1, len(few) - 1)]


def _counted(places: Sequence[float], share: float) -> Split:
    from preflab.stages.data import in_split

    held_out, usual = (sum(in_split(place, "held_out", each) for place in places) for each in (share, SHARES[0]))
    return Split(share, len(places) - held_out, held_out, usual)


def _on_both_sides(places: Sequence[float], share: float) -> bool:
    """Whether different prompts are on each side, not one with several sets of columns."""
    different = _counted(sorted(set(places)), share)
    return min(different.num_held_out, different.num_train) >= FEWEST // 2


def fitted(kind: Kind, model: ModelLook, lengths: Lengths, machine: Machine) -> Fit:
    """The first way, from the most comfortable one, in which every stage fits into `USED` of the free memory.

    Tried in this order: smaller micro-batches, fewer completions side by side, checkpointing, half precision (on a
    processor), and rows longer than 95 % of the others left out.

    Raises:
        PreflabError: none does.
    """
    tried: list[Estimate] = []
    for fit in _ways(kind, model, lengths, machine):
        tried.append(fit.heaviest)
        if fit.heaviest.total <= USED * machine.free:
            return fit
    least = min(tried, key=lambda each: each.total)
    raise PreflabError(
        f"{model.ref}: stage {least.load.kind} needs about {gib(least.total)} at the least; there is {machine.said}",
        f"a machine with {gib(least.total / USED)} or more, or a smaller model",
        "choose a smaller model, or say with --memory GIB how much the machine has that the recipe is for",
    )


def _ways(kind: Kind, model: ModelLook, lengths: Lengths, machine: Machine) -> Iterator[Fit]:
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
            fits = [estimate(model, load, accelerator=bool(machine.accelerator)) for load in loads]
            heaviest = max(fits, key=lambda each: each.total)
            if not lora and heaviest.total > USED / 2 * machine.free:
                continue  # full fine-tuning where there is plenty of room, adapters everywhere else
            cut = None if limit == min(longest, context) else limit
            precision = "auto" if machine.half else "bfloat16" if half else "float32"
            yield Fit(precision, tokens, checkpointing, lora, cut, rows, heaviest)


def _loads(
    kind: Kind, lengths: Lengths, *, lora: bool, half: bool, tokens: int, rows: int, checked: bool
) -> list[Load]:
    """The stages of a kind as the memory sees them."""
    drawn = lengths.prompts.most_of + lengths.max_new_tokens
    reward = Load("reward", 1, 0, True, half, tokens, checked)
    # The evaluation holds the reference, the model that writes, and a reward model on a base of its own.
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
    """How long the first run is."""

    num_steps: int
    """Of stages that sample while they learn."""
    num_completions: int
    """Per step."""
    seconds: float
    """A rough guess of the whole run."""


def rows_to_read(kind: Kind, data: DataLook, model: ModelLook, lengths: Lengths, machine: Machine) -> int | None:
    """Rows that can be learned in `BUDGET_S` seconds, and were looked at; None: all."""
    most = data.num_rows
    if kind != "grpo" or data.judged:
        per_row = _seconds_per_row(data, model, lengths, machine)
        most = max(FEWEST_ROWS, round(BUDGET_S / per_row)) if per_row else most
    return min(most, data.num_rows) if most < data.num_rows or not data.whole else None


def _seconds_per_row(data: DataLook, model: ModelLook, lengths: Lengths, machine: Machine) -> float:
    """6 · P operations for each token that is learned, of all completions of a row."""
    row = lengths.rows.median if lengths.rows else 0
    return 6 * model.num_parameters * row * max(1.0, len(data.judged) / max(1, data.num_rows)) / _speed(machine)


def _speed(machine: Machine) -> float:
    return FLOPS_GPU if machine.accelerator else FLOPS_PER_THREAD * machine.num_threads


def paced(kind: Kind, data: DataLook, model: ModelLook, lengths: Lengths, machine: Machine, split: Split) -> Pace:
    """A first run of about `BUDGET_S` seconds: 6 · P operations per token learned, 2 · P per token read or drawn.

    Args:
        kind: of learning.
        data: the rows that are read.
        model: sizes.
        lengths: of the rows.
        machine: how fast.
        split: of the rows that are read.
    """
    learned = data.num_rows * _seconds_per_row(data, model, lengths, machine)
    if kind not in ("ppo", "grpo"):
        return Pace(0, 0, learned)
    completions = 64 if split.num_train >= 16 else 4 * max(2, split.num_train // 2)
    tokens = completions * (lengths.prompts.median + lengths.max_new_tokens)
    passes = 2 + 3 * 2 + (4 * 6 if kind == "ppo" else 6)
    per_step = tokens * model.num_parameters * passes / _speed(machine)
    per_step += lengths.max_new_tokens * model.num_layers * PASS_S
    steps = max(5, min(40, round(BUDGET_S / per_step)))
    return Pace(steps, completions, learned + steps * per_step)
