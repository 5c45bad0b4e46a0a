"""Sentences on the data, the model and the assumptions, for the summary and for the comment above the recipe."""

from __future__ import annotations

from collections.abc import Iterator

from preflab.memory.free import gib
from preflab.memory.load import USUAL_RANK
from preflab.starter.choices import SHARES, WANTED_HELD_OUT, Split
from preflab.starter.criteria import explain_criteria, worth_more
from preflab.starter.kind_of_learning import SAID, USUAL
from preflab.starter.lengths import Spread
from preflab.starter.machine import Machine
from preflab.starter.model_look import ModelLook
from preflab.starter.stages_of import Given
from preflab.words import count, duration, listed, number

Said = tuple[str, str]
"""(topic, sentence)."""


def sentences(given: Given, model: ModelLook, machine: Machine, *, kind_asked: bool) -> list[Said]:
    """All (topic, sentence) pairs in display order; `kind_asked`: the user named the kind."""
    return [
        *_data(given),
        *_model(given, model),
        *_lengths(given),
        *_kind(given, kind_asked),
        *_memory(given, machine),
        *_run(given),
    ]


def _data(given: Given) -> Iterator[Said]:
    data = given.data
    rows = count(data.num_rows, "row") + ("" if data.whole else f" read (the first {data.num_rows:,})")
    split = f", split {data.split}" if data.split else ""
    yield "data", f"{data.path}{split}: {rows} of format {data.format}. {SAID[data.sort].capitalize()}."
    if data.other_splits:
        yield "data", f"Other splits are not used: {listed(data.other_splits)}. Name one under `data:` to use it."
    yield "data", ", ".join(_counts(given)) + "."
    if data.num_bad:
        yield "data", f"{_are(data.num_bad, 'row')} unusable and left out (`skip_bad`), first {data.first_bad}."
    for note in data.notes:
        yield "data", f"{note[0].upper()}{note[1:]}."


def _counts(given: Given) -> Iterator[str]:
    data = given.data
    turns = data.num_conversations
    form = "texts" if not turns else f"{turns:,} conversations"
    if turns == len(data.prompts):
        form = "texts, turned into conversations" if data.as_turns else "conversations"
    if data.sort == "texts":
        yield count(len(data.judged), "text")
        return
    yield f"{count(len(data.prompts), 'prompt')} ({form})"
    if data.sort == "pairs":
        ties = f", {count(data.num_ties, 'tie')}" if data.num_ties else ""
        yield f"{count(data.num_pairs, 'pair')}{ties}"
    if data.judged:
        yield count(len(data.judged), "completion")
    for name, scale in data.scales.items():
        yield f"{name} from {number(scale.low)} to {number(scale.high)} ({scale.num:,} scores)"
    if data.sort == "thumbs":
        up = [share for preference in data.preferences for share in preference.thumbs if share is not None]
        yield f"{sum(share > 0.5 for share in up):,} good, {sum(share < 0.5 for share in up):,} bad"
    if data.answer:
        yield f"answers in the column {data.answer}"


def _model(given: Given, model: ModelLook) -> Iterator[Said]:
    yield "model", f"{model.said}."
    if not model.causal:
        return
    ends = listed([f"`{token}`" for token in model.stops]) or "nothing but the length limit"
    if model.has_template:
        yield "model", f"It has a chat template; completions end with {ends}."
    else:
        yield "model", f"It has no chat template, so texts are used as they are; completions end with {ends}."
    if given.data.as_turns:
        yield (
            "model",
            "Text prompts become user turns, and their completions assistant turns (`as_turns`).",
        )


def _lengths(given: Given) -> Iterator[Said]:
    lengths = given.lengths
    measured = f" ({lengths.num_measured:,} measured)" if lengths.num_measured < lengths.num_prompts else ""
    completions = f"; completions {_spread(lengths.completions)}" if lengths.completions else ""
    prompts = "" if given.data.sort == "texts" else f"prompts {_spread(lengths.prompts)}"
    yield "lengths", f"In the model's tokens{measured}: {f'{prompts}{completions}'.removeprefix('; ')}."
    if given.data.sort != "texts":
        usual = "a usual length, since the data have no completions"
        reason = "95\u00a0% of the data's completions are no longer" if lengths.completions else usual
        yield "lengths", f"A completion may have {lengths.max_new_tokens} tokens (`max_new_tokens`): {reason}."
    if given.fit.max_tokens or lengths.num_too_long:
        yield "lengths", _left_out(given)
    if lengths.num_without_room:
        yield (
            "lengths",
            f"{_are(lengths.num_without_room, 'prompt')} left out: no room for a completion (`too_long`).",
        )
    if not lengths.whole:
        yield "lengths", "These numbers are of the measured rows; rows not measured are left out too if too long."


def _left_out(given: Given) -> str:
    """A sentence on the rows that the stages leave out as too long."""
    most = given.fit.max_tokens
    num, what = given.lengths.left_out(given.data, given.kind, most)
    limit = f"{most:,} tokens" if most else "the context"
    why = ", to save memory" if most else ""
    if what == "prompt":
        return f"{_are(num, what)} left out, with a completion longer than {limit} (`too_long`){why}."
    return f"{_are(num, what)} longer than {limit} and left out (`too_long`){why}."


def _are(num: int, what: str) -> str:
    """`1 row is`, `2 rows are`."""
    return f"{count(num, what)} {'is' if num == 1 else 'are'}"


def _spread(spread: Spread) -> str:
    return f"median {spread.median:,}, 95\u00a0% up to {spread.most_of:,}, longest {spread.longest:,}"


def _kind(given: Given, asked: bool) -> Iterator[Said]:
    usual = USUAL[given.data.sort]
    why = "as you asked" if asked else "the usual one for such data; --kind chooses another"
    yield "kind", f"Kind {given.kind}: {why}." if given.kind == usual or asked else f"Kind {given.kind}."
    if about_criteria := explain_criteria(given.data, given.kind):
        yield "kind", about_criteria
    if same := _constant(given):
        yield "kind", same
    split, what = given.split, "texts" if given.data.sort == "texts" else "prompts"
    yield (
        "held out",
        (
            f"{split.num_held_out:,} of {split.num_held_out + split.num_train:,} {what} are held out "
            f"(`held_out: {split.share:g}`), selected by a hash of their text."
        ),
    )
    if raised := _raised(split, what):
        yield "held out", raised


def _raised(split: Split, what: str) -> str:
    """Why more than the usual share is held out; "" if it is not."""
    usual = SHARES[0]
    if split.share <= usual:
        return ""
    few = "a judge to learn from" if split.num_usual >= WANTED_HELD_OUT else "an evaluation"
    return (
        f"The usual share is {usual:g}. It is raised to {split.share:g}, since {usual:g} would hold out "
        f"{split.num_usual:,} of {split.num_held_out + split.num_train:,} {what}, too few for {few}. "
        "Lower it when you add rows."
    )


def _constant(given: Given) -> str:
    """A sentence on criteria left out because their ratings are all equal; "" if there are none."""
    if given.data.sort != "ratings" or not given.weights:
        return ""
    same = [name for name in worth_more(given.data.scales) if name not in given.weights]
    return f"Left out: {listed(same)}, whose ratings are all equal in a part to learn from." if same else ""


def _memory(given: Given, machine: Machine) -> Iterator[Said]:
    fit = given.fit
    heaviest = fit.heaviest
    parts = ", ".join(f"{name} {gib(size)}" for name, size in heaviest.parts.items() if size > 0.02 * heaviest.total)
    yield (
        "memory",
        (f"Stage {heaviest.load.kind} needs most, about {gib(heaviest.total)} ({parts}); there is {machine.said}."),
    )
    trained = f"adapters (LoRA, rank {USUAL_RANK}) on one base" if fit.lora else "all weights"
    more = ", activations are recomputed in the backward pass" if fit.checkpointing else ""
    yield "memory", f"Trained: {trained}; {fit.tokens:,} tokens per micro-batch{more}; precision {fit.precision}."


def _run(given: Given) -> Iterator[Said]:
    pace = given.pace
    if given.limit:
        yield "first run", f"The first run reads {given.limit:,} rows (`limit`); remove the line to read all."
    if pace.num_steps:
        yield (
            "first run",
            (
                f"{count(pace.num_steps, 'step')} of {count(pace.num_completions, 'completion')}; to train longer, "
                "raise `num_steps` and run again."
            ),
        )
    if pace.seconds > 60:
        yield "first run", f"Training takes very roughly {duration(pace.seconds)} on this machine."
