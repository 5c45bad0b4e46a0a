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
NO_BEST = "preferences without a best completion"
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
    for pair in _failed_pairs(preference, material) if material.settings.failed_as_rejected else ():
        num += 1
        yield pair
    if not num:
        material.drop(NO_PAIR)


def _failed_pairs(preference: Preference, material: Material) -> Iterator[Pair]:
    """Every completion that is not F before every one that is; nobody voted on these pairs."""
    places = range(len(preference.ranks))
    for good in (i for i in places if preference.ranks[i] is not None):
        for bad in (i for i in places if preference.ranks[i] is None):
            chosen, rejected = (material.completions[preference.completion_ids[i]] for i in (good, bad))
            if chosen.text != rejected.text:
                outcome = PairOutcome(good, bad, 0.0, 0.0, 0.0)
                yield Pair(preference, outcome, material.prompts[preference.prompt_id], chosen, rejected)


def best_completions(preference: Preference, material: Material) -> Iterator[Completion]:
    """Those ranked 1 that won a pair, each text once: what is worth imitating."""
    winners = {index for index, _, _ in preference.chosen_rejected()}
    best = [i for i in sorted(winners) if preference.ranks[i] == 1]
    if not best:
        material.drop(NO_BEST)
    seen: set[str] = set()
    for index in best:
        completion = material.completions[preference.completion_ids[index]]
        if completion.text not in seen:
            seen.add(completion.text)
            yield completion


def _origin(pair: Pair, material: Material) -> Row:
    """Where a pair comes from, in columns of our own, none in strict mode; and the margin where it is wanted."""
    outcome = pair.outcome
    margin = {"margin": abs(outcome.margin)} if material.settings.margin else {}
    if material.settings.strict:
        return margin
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
        "confidence": (wins + outcome.num_tie / 2) / num if num else None,
        "weight": outcome.weight,
        "source": pair.preference.source,
    }
    return margin | {f"{OURS}{name}": value for name, value in columns.items()}


def turn_of(role: str, content: str) -> Row:
    """One turn as trainers write it."""
    return {"role": role, "content": content}


def turns_of(prompt: Prompt) -> list[Row]:
    """The prompt as turns; a text is one user's turn."""
    messages = prompt.messages or (Message("user", prompt.text),)
    return [turn_of(message.role, message.content) for message in messages]


def _explicit(preference: Preference, material: Material) -> Iterator[Row]:
    for pair in decided_pairs(preference, material):
        if pair.prompt.messages:
            yield _conversation(pair) | _origin(pair, material)
        else:
            row = {"prompt": pair.prompt.text, "chosen": pair.chosen.text, "rejected": pair.rejected.text}
            yield row | _origin(pair, material)


def _conversation(pair: Pair) -> Row:
    return {
        "prompt": turns_of(pair.prompt),
        "chosen": [turn_of("assistant", pair.chosen.text)],
        "rejected": [turn_of("assistant", pair.rejected.text)],
    }


def _conversational(preference: Preference, material: Material) -> Iterator[Row]:
    for pair in decided_pairs(preference, material):
        yield _conversation(pair) | _origin(pair, material)


def _implicit(preference: Preference, material: Material) -> Iterator[Row]:
    for pair in decided_pairs(preference, material):
        sides = {"chosen": pair.chosen.text, "rejected": pair.rejected.text}
        if pair.prompt.messages:
            turns = turns_of(pair.prompt)
            row: Row = {name: [*turns, turn_of("assistant", words)] for name, words in sides.items()}
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
            row = {"prompt": turns_of(prompt), "completion": [turn_of("assistant", words)], "label": good}
        yield row | _source(preference, material.completions[completion_id], material)


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
    asked = turns_of(prompt) if prompt.messages else prompt.text
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
        row: Row = {"prompt": turns_of(prompt), "completion": [turn_of("assistant", completion.text)]}
    elif prompt.text:
        row = {"prompt": prompt.text, "completion": completion.text}
    else:
        row = {"text": completion.text}
    yield row | columns


def _best(preference: Preference, material: Material) -> Iterator[Row]:
    prompt = material.prompts[preference.prompt_id]
    for completion in best_completions(preference, material):
        row: Row = {"prompt": prompt.text, "completion": completion.text}
        if prompt.messages:
            row = {"prompt": turns_of(prompt), "completion": [turn_of("assistant", completion.text)]}
        yield row | _source(preference, completion, material)


def _whole_text(preference: Preference, material: Material) -> Iterator[Row]:
    prompt = material.prompts[preference.prompt_id]
    for completion in best_completions(preference, material):
        row: Row = {"text": prompt.text + completion.text}
        if prompt.messages:
            row = {"messages": [*turns_of(prompt), turn_of("assistant", completion.text)]}
        yield row | _source(preference, completion, material)


def _source(preference: Preference, completion: Completion, material: Material) -> Row:
    """Where a single completion comes from; nothing of it in strict mode."""
    if material.settings.strict:
        return {}
    columns = {"prompt_id": preference.prompt_id, "completion_id": completion.id, "source": preference.source}
    return {f"{OURS}{name}": value for name, value in columns.items()}


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
    Export(
        "trl-prompt-completion",
        "prompt, completion (SFT): the best completion of each group",
        "preference",
        _best,
        one_form,
    ),
    Export(
        "trl-text", "text or messages (SFT): prompt and best completion as one", "preference", _whole_text, one_form
    ),
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
