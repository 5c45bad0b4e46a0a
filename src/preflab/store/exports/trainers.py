"""What trainers read: TRL's columns, HH-RLHF's transcripts, prompts, demonstrations.

Pairs come from decided pairs alone; good/bad labels from thumbs or scores alone, never from pairs: the better of two
completions is not always good, nor the worse one bad.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from preflab.errors import PreflabError
from preflab.records import Completion, Message, PairOutcome, Preference, Prompt, content_id
from preflab.store.exports.base import Export, Material, Row
from preflab.store.formats.base import OURS
from preflab.store.formats.hh_rlhf import ASSISTANT, HUMAN
from preflab.store.formats.prompts import DEMONSTRATION

TIED, EQUAL, NO_PAIR = "tied pairs", "pairs of equal texts", "preferences without a decided pair"
UNRESOLVED = "pairs left to an adjudicator"
UNDECIDED, NO_VERDICT = "completions neither good nor bad", "completions without thumbs and scores"


@dataclass(frozen=True)
class Pair:
    """One decided pair, the preferred completion first."""

    preference: Preference
    outcome: PairOutcome
    prompt: Prompt
    chosen: Completion
    rejected: Completion


def decided_pairs(preference: Preference, material: Material) -> Iterator[Pair]:
    """The pairs of a group with a nonzero margin and two different texts; the others are counted as dropped."""
    num = 0
    for outcome in preference.pairs:
        if not outcome.learned:
            material.drop(TIED if outcome.margin == 0 else UNRESOLVED)
            continue
        order = (outcome.first, outcome.second) if outcome.margin > 0 else (outcome.second, outcome.first)
        chosen, rejected = (material.completions[preference.completion_ids[index]] for index in order)
        if chosen.text == rejected.text:
            material.drop(EQUAL)
            continue
        num += 1
        yield Pair(preference, outcome, material.prompts[preference.prompt_id], chosen, rejected)
    if not num:
        material.drop(NO_PAIR)


def _origin(pair: Pair, material: Material) -> Row:
    """Where a pair comes from, in columns of our own; nothing of it in strict mode."""
    if material.settings.strict:
        return {}
    outcome = pair.outcome
    wins, losses = max(outcome.num_for, outcome.num_against), min(outcome.num_for, outcome.num_against)
    num = wins + losses + outcome.num_tie
    columns = {
        "prompt_id": pair.prompt.id,
        "pair_id": content_id("pair", [pair.preference.id, pair.chosen.id, pair.rejected.id]),
        "chosen_id": pair.chosen.id,
        "rejected_id": pair.rejected.id,
        "n_labels": num,
        "n_for": wins,
        "n_against": losses,
        "n_tie": outcome.num_tie,
        "confidence": (wins + outcome.num_tie / 2) / num,
        "weight": outcome.weight,
        "source": pair.preference.source,
    }
    return {f"{OURS}{name}": value for name, value in columns.items()}


def _turn(role: str, content: str) -> Row:
    return {"role": role, "content": content}


def _turns(prompt: Prompt) -> list[Row]:
    messages = prompt.messages or (Message("user", prompt.text),)
    return [_turn(message.role, message.content) for message in messages]


def _explicit(preference: Preference, material: Material) -> Iterator[Row]:
    for pair in decided_pairs(preference, material):
        if pair.prompt.messages:
            yield _conversation(pair) | _origin(pair, material)
        else:
            row = {"prompt": pair.prompt.text, "chosen": pair.chosen.text, "rejected": pair.rejected.text}
            yield row | _origin(pair, material)


def _conversation(pair: Pair) -> Row:
    return {
        "prompt": _turns(pair.prompt),
        "chosen": [_turn("assistant", pair.chosen.text)],
        "rejected": [_turn("assistant", pair.rejected.text)],
    }


def _conversational(preference: Preference, material: Material) -> Iterator[Row]:
    for pair in decided_pairs(preference, material):
        yield _conversation(pair) | _origin(pair, material)


def _implicit(preference: Preference, material: Material) -> Iterator[Row]:
    for pair in decided_pairs(preference, material):
        sides = {"chosen": pair.chosen.text, "rejected": pair.rejected.text}
        if pair.prompt.messages:
            turns = _turns(pair.prompt)
            row: Row = {name: [*turns, _turn("assistant", words)] for name, words in sides.items()}
        else:
            row = {name: pair.prompt.text + words for name, words in sides.items()}
        yield row | _origin(pair, material)


def _transcripts(preference: Preference, material: Material) -> Iterator[Row]:
    for pair in decided_pairs(preference, material):
        sides = {"chosen": pair.chosen.text, "rejected": pair.rejected.text}
        row = {name: _transcript(pair.prompt, words) for name, words in sides.items()}
        yield row | _origin(pair, material)


def _transcript(prompt: Prompt, words: str) -> str:
    """A prompt that is a transcript already is only continued; any other becomes one."""
    if prompt.text.endswith(ASSISTANT):
        return prompt.text + words
    heads = {"user": f"{HUMAN} ", "assistant": f"{ASSISTANT} "}
    turns = prompt.messages or (Message("user", prompt.text),)
    return "".join(heads.get(turn.role, "") + turn.content for turn in turns) + f"{ASSISTANT} {words}"


def _unpaired(preference: Preference, material: Material) -> Iterator[Row]:
    prompt = material.prompts[preference.prompt_id]
    for index, completion_id in enumerate(preference.completion_ids):
        good = _is_good(preference, index, material)
        if good is None:
            continue
        words = material.completions[completion_id].text
        row: Row = {"prompt": prompt.text, "completion": words, "label": good}
        if prompt.messages:
            row = {"prompt": _turns(prompt), "completion": [_turn("assistant", words)], "label": good}
        if not material.settings.strict:
            row |= {f"{OURS}prompt_id": prompt.id, f"{OURS}completion_id": completion_id}
            row |= {f"{OURS}source": preference.source}
        yield row


def _is_good(preference: Preference, index: int, material: Material) -> bool | None:
    """Most thumbs up, else a mean score beyond a threshold; None (dropped) where neither says good or bad."""
    settings = material.settings
    share = preference.thumbs[index] if preference.thumbs else None
    if share is not None:
        verdict = None if share == 0.5 else share > 0.5
    else:
        names = [settings.criterion] if settings.criterion else list(preference.scores)
        given = [preference.scores[name][index] for name in names if name in preference.scores]
        scores = [score for score in given if score is not None]
        if not scores:
            material.drop(NO_VERDICT)
            return None
        mean = sum(scores) / len(scores)
        verdict = mean >= settings.good_from if not settings.bad_to < mean < settings.good_from else None
    if verdict is None:
        material.drop(UNDECIDED)
    return verdict


def _prompt(prompt: Prompt, material: Material) -> Iterator[Row]:
    asked = _turns(prompt) if prompt.messages else prompt.text
    if not asked:
        material.drop("empty prompts, which plain texts belong to")
        return
    columns = {} if material.settings.strict else {name: prompt.columns[name] for name in sorted(prompt.columns)}
    yield {"prompt": asked} | columns


def _demonstration(completion: Completion, material: Material) -> Iterator[Row]:
    prompt = material.prompts[completion.prompt_id]
    columns = (
        {} if material.settings.strict else {name: completion.columns[name] for name in sorted(completion.columns)}
    )
    if prompt.messages:
        row: Row = {"prompt": _turns(prompt), "completion": [_turn("assistant", completion.text)]}
    elif prompt.text:
        row = {"prompt": prompt.text, "completion": completion.text}
    else:
        row = {"text": completion.text}
    yield row | columns


def one_form(prompts: Iterable[Prompt]) -> None:
    """Refuse a mixture of texts and conversations, which no trainer reads from one file."""
    forms = {bool(prompt.messages) for prompt in prompts}
    if len(forms) > 1:
        raise PreflabError(
            "some prompts are text and some are conversations",
            "one of the two in a file",
            "export with --format trl-conversational, which makes a text one user's turn",
        )


EXPORTS = (
    Export("trl-explicit", "prompt, chosen, rejected (DPO): text or turns", "preference", _explicit, one_form),
    Export("trl-conversational", "prompt, chosen, rejected, always as turns", "preference", _conversational),
    Export("trl-implicit", "chosen, rejected with the prompt in both (Reward)", "preference", _implicit, one_form),
    Export("trl-unpaired", "prompt, completion, label (KTO) from thumbs or scores", "preference", _unpaired, one_form),
    Export("hh-rlhf", "chosen and rejected as whole transcripts", "preference", _transcripts),
    Export("prompts", "prompt (text or turns) and its other columns", "prompt", _prompt),
    Export(
        "demonstrations",
        "prompt and completion, or text, of what was imported to learn from",
        "completion",
        _demonstration,
        model=DEMONSTRATION,
    ),
)
