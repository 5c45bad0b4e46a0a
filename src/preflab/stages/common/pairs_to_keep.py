"""Chooses the pairs whose numbers a run keeps: one of each group, held-out groups first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from preflab.stages.common.preference_data import PreferenceData

if TYPE_CHECKING:
    from preflab.records import Completion
    from preflab.rewards.rankings import Encoder
    from preflab.training.batches import TokenSequence
    from preflab.training.kept_pairs import KeptPair, KeptSide


class PairGroup(Protocol):
    """A tokenized preference group: `Group` of DPO, or `Ranking` of the reward model."""

    @property
    def prompt_id(self) -> str: ...
    @property
    def sequences(self) -> tuple[TokenSequence, ...]: ...
    @property
    def pairs(self) -> Sequence[Any]: ...


def pairs_to_keep(
    data: PreferenceData,
    encoder: Encoder,
    held_out: Sequence[PairGroup],
    train: Sequence[PairGroup],
    num: int,
) -> list[KeptPair]:
    """The first decided pair of each of the first groups that have one, up to `num` pairs.

    Held-out groups are taken; training groups only if no held-out one has a decided pair.
    """
    chosen = _first_pairs(held_out, num) or _first_pairs(train, num)
    return [_kept(data, encoder, group, *places) for group, places in chosen]


def _first_pairs(groups: Sequence[PairGroup], num: int) -> list[tuple[PairGroup, tuple[int, int]]]:
    found: list[tuple[PairGroup, tuple[int, int]]] = []
    for group in groups:
        pair = next((pair for pair in group.pairs if pair.label != 0.5), None)
        if len(found) < num and pair is not None:
            places = (pair.first, pair.second) if pair.label > 0.5 else (pair.second, pair.first)
            found.append((group, places))
    return found


def _kept(data: PreferenceData, encoder: Encoder, group: PairGroup, chosen: int, rejected: int) -> KeptPair:
    from preflab.training.kept_pairs import KeptPair

    prompt = data.prompts[group.prompt_id]
    sides = [_side(data, encoder, group, place) for place in (chosen, rejected)]
    return KeptPair(group.prompt_id, prompt.shown, *sides)


def _side(data: PreferenceData, encoder: Encoder, group: PairGroup, place: int) -> KeptSide:
    from preflab.conversations.joining import decode
    from preflab.training.kept_pairs import KeptSide
    from preflab.training.token_texts import restore_spaces

    sequence = group.sequences[place]
    record = _record(data, encoder, group.prompt_id, sequence)
    tokens = [decode(encoder.tokenizer, [token]) for token in sequence.completion_ids]
    text = decode(encoder.tokenizer, sequence.completion_ids) if record is None else record.text
    return KeptSide(sequence, text, tuple(restore_spaces(tokens, text)), None if record is None else record.id)


def _record(data: PreferenceData, encoder: Encoder, prompt_id: str, sequence: TokenSequence) -> Completion | None:
    """The completion that has these tokens; a cut may have removed their beginning."""
    prompt, kept = data.prompts[prompt_id], sequence.completion_ids
    ids = dict.fromkeys(i for p in data.preferences if p.prompt_id == prompt_id for i in p.completion_ids)
    for completion in (data.completions[i] for i in ids):
        if encoder(prompt, completion).completion_ids[-len(kept) :] == kept:
            return completion
    return None
