"""Label Studio's JSON export: tasks with `data` and the annotations of several people.

`pairwise` chooses the left or the right one of two texts. `ranker` holds the ids of items, either as one list, best
first, or in buckets: the buckets are ranked in the file's order, the items of a bucket are tied, and a bucket named F
or fail holds items marked F. A single bucket is read like a list. `rating` and `choices` (thumbs) are about the text
that they point at. Cancelled annotations are counted as left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from preflab.records import Answer, Completion, LikertAnswer, Prompt, RankingAnswer, SideBySideAnswer, ThumbsAnswer
from preflab.store.formats.argilla import BAD, EQUAL, GOOD, PROMPTS
from preflab.store.formats.asked import completion_of, read_question, spans_of
from preflab.store.formats.base import Format, Parsed
from preflab.store.formats.columns import column, peek
from preflab.store.formats.fields import kind_of
from preflab.store.formats.json_rows import BadRow, Row
from preflab.store.formats.judgment_records import Judged, completions_of, records_of
from preflab.store.formats.label_studio_min import is_minimal, task_of
from preflab.store.formats.turns import last_speaker
from preflab.words import count

NAME = "label-studio"
FAIL = {"f", "fail", "failed", "unusable", "nonsense", "irrelevant"}
UNSORTED = "_"
"""The bucket of items that the labeler did not sort."""
SIDES = (("text1", "text2"), ("answer1", "answer2"), ("response_a", "response_b"), ("left", "right"))
ITEM_TEXT = ("body", "text", "html", "completion", "title")
CANCELLED = "cancelled annotations"
UNRANKED = "rankings with items that nobody sorted"
OTHER = "results that judge no completion"


def _row(row: Row, source: str) -> Parsed:
    data, annotations = task_of(row) if is_minimal(row) else (column(row, "data"), column(row, "annotations"))
    if not isinstance(data, dict) or not isinstance(annotations, list):
        raise BadRow(f"data is {kind_of(data)}, annotations {kind_of(annotations)}", "an object and a list")
    name = next((each for each in PROMPTS if data.get(each)), None)
    if name is None:
        raise BadRow(f"no prompt in data: {', '.join(data) or 'nothing'}", f"one of {', '.join(PROMPTS)}")
    question = read_question(data, (name,))
    texts = {each: completion_of(value, each) for each, value in _texts(data, name).items()}
    prompt = question.prompt(source, chat=any(each.turns for each in texts.values()))
    spans = [spans_of(each) for each in texts.values()]
    by_name = dict(zip(texts, completions_of(prompt, spans, [NAME] * len(texts)), strict=True))
    left_out: list[str] = []
    judged = [each for note in annotations for each in _annotation(note, data, prompt, by_name, left_out)]
    if is_minimal(row) and not judged and not left_out:
        left_out.append(OTHER)
    used = {i for each in judged for i in each.completion_ids}
    completions = [completion for completion in by_name.values() if completion.id in used]
    key = row.get("annotation_id") if is_minimal(row) else row.get("id")
    return Parsed((prompt, *completions), key=key, items=tuple(judged), left_out=tuple(left_out))


def _texts(data: Row, prompt: str) -> dict[str, Any]:
    """Name or id → text (or turns) of everything in the task that may be a completion."""
    texts: dict[str, Any] = {}
    for name, value in data.items():
        if name != prompt and (isinstance(value, str) or last_speaker(value) == "assistant"):
            texts[name] = value
        elif isinstance(value, list) and value and all(isinstance(each, dict) and "id" in each for each in value):
            texts |= {str(each["id"]): _item_text(each) for each in value}
    return texts


def _item_text(item: Row) -> str:
    text = next((item[name] for name in ITEM_TEXT if isinstance(item.get(name), str)), None)
    if text is None:
        raise BadRow(f"no text in the item {item['id']!r}", f"one of {', '.join(ITEM_TEXT)}")
    return text


def _annotation(
    note: Any, data: Row, prompt: Prompt, completions: Mapping[str, Completion], left_out: list[str]
) -> Iterator[Judged]:
    if not isinstance(note, dict) or not isinstance(note.get("result"), list):
        raise BadRow("an annotation without a result", '{"completed_by": …, "result": […]}')
    if note.get("was_cancelled"):
        left_out.append(CANCELLED)
        return
    for result in note["result"]:
        value = result.get("value") if isinstance(result, dict) else None
        if not isinstance(value, dict):
            raise BadRow("a result without a value", '{"from_name": …, "type": …, "value": {…}}')
        parsed = _answer(result, value, data, completions)
        if parsed is None or isinstance(parsed, str):
            left_out.append(parsed or OTHER)
            continue
        names, answer = parsed
        yield Judged(
            NAME,
            str(result.get("from_name") or NAME),
            prompt.id,
            tuple(completions[name].id for name in names),
            answer,
            _person(note.get("completed_by")),
            created_at=str(note.get("created_at") or ""),
            active_ms=round(1000 * float(note.get("lead_time") or 0)),
        )


def _person(who: Any) -> str:
    return str(who.get("id") or who.get("email")) if isinstance(who, dict) else str(who or "nobody named")


Result = tuple[Sequence[str], Answer] | str | None
"""(names of completions, answer about them); the reason why it is left out; None: it judges no completion."""


def _answer(result: Row, value: Row, data: Row, completions: Mapping[str, Completion]) -> Result:
    if "selected" in value:
        return _pairwise(result, value["selected"], data, completions)
    if "ranker" in value:
        return _ranker(value["ranker"], completions)
    about = [name for name in _pointed_at(result) if name in completions] or (
        list(completions) if len(completions) == 1 else []
    )
    if "rating" in value and len(about) == 1:
        return _rating(str(result.get("from_name")), value["rating"], about)
    if "choices" in value:
        return _choice(result, value["choices"], about, data, completions)
    return None


def _pointed_at(result: Row) -> list[str]:
    names = result.get("to_name") or []
    return names.split(",") if isinstance(names, str) else [str(name) for name in names]


def _pairwise(result: Row, selected: Any, data: Row, completions: Mapping[str, Completion]) -> Result:
    names = _two(result, data, completions)
    if selected not in ("left", "right"):
        raise BadRow(f"the selected side {selected!r}", "left or right")
    return names, SideBySideAnswer("first" if selected == "left" else "second")


def _two(result: Row, data: Row, completions: Mapping[str, Completion]) -> Sequence[str]:
    """The names of the left and the right text: those pointed at, a usual couple of names, or the only two texts."""
    pointed = _pointed_at(result)
    plain = [name for name in completions if name in data]
    for names in (pointed, *SIDES, plain):
        if len(names) == 2 and all(name in completions for name in names):
            return names
    raise BadRow(f"which of {', '.join(plain) or 'no texts'} are left and right is not clear", "two texts in data")


def _ranker(ranked: Any, completions: Mapping[str, Completion]) -> Result:
    buckets = {"ranked": ranked} if isinstance(ranked, list) else ranked
    if not isinstance(buckets, dict) or not all(isinstance(ids, list) for ids in buckets.values()):
        raise BadRow(f"a ranker's value that is {kind_of(ranked)}", "a list of ids, or buckets of ids")
    sorted_ids = {name: [str(each) for each in ids] for name, ids in buckets.items()}
    every = [each for ids in sorted_ids.values() for each in ids]
    unknown = [each for each in every if each not in completions]
    if unknown or len(set(every)) != len(every):
        raise BadRow(f"the ranked items {', '.join(unknown or every)}", f"each of {', '.join(completions)} once")
    if sorted_ids.get(UNSORTED):
        return UNRANKED
    failed = [each for name, ids in sorted_ids.items() if name.strip().lower() in FAIL for each in ids]
    kept = [ids for name, ids in sorted_ids.items() if name.strip().lower() not in FAIL and name != UNSORTED]
    levels = [[each] for each in kept[0]] if len(kept) == 1 else kept
    ranks: dict[str, int | None] = dict.fromkeys(failed)
    for level in levels:
        place = 1 + sum(rank is not None for rank in ranks.values())
        ranks |= dict.fromkeys(level, place)
    if len(ranks) < 2:
        raise BadRow(f"a ranking of {count(len(ranks), 'item')}", "at least two")
    return list(ranks), RankingAnswer(tuple(ranks.values()))


def _rating(criterion: str, rating: Any, about: Sequence[str]) -> Result:
    if isinstance(rating, bool) or not isinstance(rating, int) or not 1 <= rating <= 5:
        raise BadRow(f"the rating {rating!r} of {criterion}", "whole numbers from 1 to 5")
    return about, LikertAnswer({criterion: (rating,)})


def _choice(
    result: Row, choices: Any, about: Sequence[str], data: Row, completions: Mapping[str, Completion]
) -> Result:
    word = str(choices[0]).strip().lower() if isinstance(choices, list) and len(choices) == 1 else ""
    plain = [name for name in completions if name in data]
    chosen = [place for place, name in enumerate(plain) if name.lower() == word]
    if len(chosen) == 1 and len(plain) > 1:  # a choice that names a text of the task
        best = chosen[0]
        two = SideBySideAnswer("second" if best else "first")
        return plain, two if len(plain) == 2 else SideBySideAnswer(None, best)
    if word in GOOD | BAD and len(about) == 1:
        return about, ThumbsAnswer((word in GOOD,))
    if word in EQUAL or word in ("left", "right"):
        names = _two(result, data, completions)
        choice = "equal" if word in EQUAL else "first" if word == "left" else "second"
        return names, SideBySideAnswer(choice)  # type: ignore[arg-type]
    return None


LABEL_STUDIO = Format(
    NAME,
    "Label Studio's JSON, also JSON-MIN: pairwise, ranker (lists and buckets), ratings, choices",
    _row,
    lambda row: is_minimal(row) or (isinstance(peek(row, "data"), dict) and isinstance(peek(row, "annotations"), list)),
    finish=records_of,
    columns="`data`, `annotations[].result[]`",
    holds_objects={"data", "annotations"}.__contains__,
    becomes="one judgment per annotation",
)
