"""Writes the judgments of the summaries recipe: every labeler's points for the twelve summaries of each article.

    python recipes/summeval/ratings.py SUMMEVAL.jsonl            experts.jsonl: three experts
    python recipes/summeval/ratings.py SUMMEVAL.jsonl --who all  all.jsonl: experts and crowd

One line per labeler and article in preflab's archive of judgments, so that each labeler's own use of the scale can be
taken out. The data name the articles and do not hold them: whoever learns from them sees the summaries alone. The
crowd's names (turker1 to turker5) are places in a row, each taken by many people.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from preflab.records import Campaign, Completion, Judgment, Labeler, LikertAnswer, Prompt
from preflab.store.formats.judgment_records import Judged, completions_of, records_of
from preflab.store.objects import to_object

CRITERIA = ("coherence", "consistency", "fluency", "relevance")
WHO = {"experts": "expert", "crowd": "turker", "all": ""}
"""Which labelers → how their names begin."""
Row = dict[str, Any]


def articles(file: Path) -> dict[str, list[Row]]:
    """Article → the rows of its summaries, in the file's order."""
    found: dict[str, list[Row]] = defaultdict(list)
    for line in file.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        found[row["item"]].append(row)
    return found


def lines(number: int, article: str, rows: list[Row], prefix: str) -> Iterator[Row]:
    """One line of the archive for every labeler of an article.

    Prompts are held out by their text, so the article's number stands in it.
    """
    prompt = Prompt.make(text=f"Summarise article {number}.", columns={"article": article})
    completions = completions_of(prompt, [row["text"] for row in rows], [row["model"] for row in rows])
    given = [{each["annotator"]: each for each in row["ratings"]} for row in rows]
    names = sorted({name for each in given for name in each if name.startswith(prefix)})
    judged = [
        Judged(
            "summeval",
            "How good is each summary?",
            prompt.id,
            tuple(completion.id for completion in completions),
            LikertAnswer({c: tuple(each[name][c] if name in each else None for each in given) for c in CRITERIA}),
            name,
        )
        for name in names
    ]
    records = records_of(judged)
    (campaign,) = [record for record in records if isinstance(record, Campaign)]
    labelers = {record.id: record for record in records if isinstance(record, Labeler)}
    for record in records:
        if isinstance(record, Judgment):
            yield line_of(record, campaign, labelers[record.labeler_id], prompt, completions)


def line_of(
    judgment: Judgment, campaign: Campaign, labeler: Labeler, prompt: Prompt, completions: list[Completion]
) -> Row:
    """A judgment with everything it names, as `preflab export --format judgments` writes it."""
    place = {completion.id: completion for completion in completions}
    return to_object(judgment) | {
        "labeler": labeler.name,
        "labeler_settings": {},
        "campaign": to_object(campaign),
        "prompt": to_object(prompt),
        "completions": [to_object(place[each]) for each in judgment.completion_ids],
    }


def write(file: Path, out: Path, who: str) -> int:
    """Write the judgments of these labelers; how many."""
    numbered = enumerate(articles(file).items(), 1)
    found = [line for number, (article, rows) in numbered for line in lines(number, article, rows, WHO[who])]
    out.write_text("".join(json.dumps(line) + "\n" for line in found), encoding="utf-8")
    return len(found)


def main() -> None:
    """Read the ratings, write one JSON line per judgment."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ratings", type=Path)
    parser.add_argument("--who", choices=tuple(WHO), default="experts")
    parser.add_argument("--out", type=Path, help="where to; beside this script by default")
    args = parser.parse_args()
    out = args.out or Path(__file__).with_name(f"{args.who}.jsonl")
    print(f"{write(args.ratings, out, args.who)} judgments in {out}")


if __name__ == "__main__":
    main()
