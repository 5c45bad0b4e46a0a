"""Each import format on rows small enough to say by hand what they become."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from preflab.errors import PreflabError
from preflab.records import Message, Prompt
from preflab.store.formats import FORMATS, read_file
from preflab.store.formats.base import Imported
from preflab.store.formats.detect import detect
from preflab.store.formats.oasst import DELETED, SINGLE, UNRANKED

Row = dict[str, Any]


def jsonl(path: Path, rows: list[Any], name: str = "rows.jsonl") -> Path:
    file = path / name
    file.write_text(
        "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), encoding="utf-8"
    )
    return file


def said(found: Imported) -> list[tuple[str, str, list[str]]]:
    """(prompt, criterion of the group, texts from the best to the worst) of every group."""
    prompts = {p.id: p for p in found.prompts}
    texts = {c.id: c.text for c in found.completions}
    groups = []
    for group in found.preferences:
        order = sorted(zip(group.ranks, group.completion_ids, strict=True), key=lambda pair: pair[0] or 99)
        groups.append((prompts[group.prompt_id].shown, group.source, [texts[each] for _, each in order]))
    return groups


def problems(found: Imported) -> list[int]:
    return [problem.line for problem in found.problems]


USER = {"role": "user", "content": "Where?"}
ASSISTANT = {"role": "assistant", "content": "Here."}

LOOKS = {
    "prompts": {"prompt": "Where?", "topic": "parcel"},
    "demonstrations": {"prompt": "Where?", "completion": "Here."},
    "text": {"text": "Once upon a time"},
    "trl-explicit": {"prompt": "Where?", "chosen": "Here.", "rejected": "No."},
    "trl-implicit": {"chosen": "Where? Here.", "rejected": "Where? No."},
    "trl-unpaired": {"prompt": "Where?", "completion": "Here.", "label": True},
    "hh-rlhf": {
        "chosen": "\n\nHuman: Where?\n\nAssistant: Here.",
        "rejected": "\n\nHuman: Where?\n\nAssistant: No.",
    },
    "rankings": {"prompt": "Where?", "completions": ["Here.", "No."], "ranks": [1, 2]},
    "argilla": {"prompt": "Where?", "answer": "Here.", "good.responses": ["yes"]},
    "label-studio": {"data": {"prompt": "Where?"}, "annotations": []},
    "ultrafeedback": {"instruction": "Where?", "completions": []},
    "stiennon": {"info": {"post": "x"}, "summaries": [{"text": "a"}, {"text": "b"}], "choice": 1},
    "oasst": {"message_tree_id": "1", "prompt": {"role": "prompter", "text": "Where?", "replies": []}},
    "chatbot-arena": {"conversation_a": [USER, ASSISTANT], "conversation_b": [USER, ASSISTANT], "winner": "tie"},
    "chatbot-arena-55k": {"prompt": '["Where?"]', "response_a": '["a"]', "response_b": '["b"]', "winner_tie": 1},
}


@pytest.mark.parametrize("name", sorted(LOOKS))
def test_the_format_is_guessed_from_the_columns(tmp_path: Path, name: str) -> None:
    guess = detect(jsonl(tmp_path, [LOOKS[name]] * 3))
    assert (guess.format, guess.share, guess.num_rows) == (name, 1.0, 3)


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ({"messages": [USER]}, "prompts"),
        ({"messages": [USER, ASSISTANT]}, "demonstrations"),
        ({"prompt": [USER]}, "prompts"),
        ({"prompt": [USER], "chosen": [ASSISTANT], "rejected": [ASSISTANT]}, "trl-explicit"),
    ],
)
def test_conversations_are_guessed_too(tmp_path: Path, row: Row, name: str) -> None:
    assert detect(jsonl(tmp_path, [row])).format == name


def test_what_cannot_be_guessed_is_said(tmp_path: Path) -> None:
    with pytest.raises(PreflabError, match="no known format has the columns goal, target"):
        detect(jsonl(tmp_path, [{"goal": "a", "target": "b"}]))
    with pytest.raises(PreflabError, match="of the first 3 rows 1 like prompts, 1 like text"):
        detect(jsonl(tmp_path, [{"prompt": "a"}, {"text": "b"}, {"other": 1}]))
    with pytest.raises(PreflabError, match="near it: hh-rlhf"):
        read_file(jsonl(tmp_path, [LOOKS["text"]]), "hh-rhlf")
    elsewhere = {"hh-rlhf-chat", "judgments", "preferences", "completions"}
    elsewhere |= {"ratings", "comparisons", "oasst-flat", "nectar", "rewardbench2"}  # test_layouts.py
    elsewhere |= {"pku-saferlhf", "helpsteer3", "shp", "openai-preferences"}
    elsewhere |= {"stack-exchange-paired"}  # test_columns_of_other_names.py
    assert set(LOOKS) | elsewhere == set(FORMATS)


def test_prompts_keep_their_columns_and_say_where_they_are_from(tmp_path: Path) -> None:
    rows = [{"prompt": "a", "topic": "x", "n": [1, None]}, {"prompt": [USER]}, {"messages": [USER, ASSISTANT, USER]}]
    found = read_file(jsonl(tmp_path, rows), "prompts")
    turn, answer = Message("user", "Where?"), Message("assistant", "Here.")
    assert found.prompts == [
        Prompt.make(text="a", columns={"topic": "x", "n": [1, None]}, source="rows.jsonl, line 1"),
        Prompt.make(messages=(turn,), source="rows.jsonl, line 2"),
        Prompt.make(messages=(turn, answer, turn), source="rows.jsonl, line 3"),
    ]


BAD_PROMPTS = [
    ('{"prompt": "fine"}', None, None),
    ('{"prompt": "a"', "not JSON", "one JSON object per line"),
    ('{"prompt": ""}', "an empty prompt", "a prompt with something in it"),
    ('{"prompt": " \\n"}', "an empty prompt", None),
    ('{"promt": "a"}', "no column 'prompt' among promt", "near it: promt"),
    ('{"prompt": 3}', "the column 'prompt' holds a number", "text"),
    ('{"prompt": null}', "the column 'prompt' holds null", "text"),
    ('["prompt"]', "a JSON list, not an object", None),
    ('{"prompt": "a", "n": NaN}', "the number NaN", "finite"),
    ('{"prompt": "a", "n": 1e999}', "the number 1e999, which is infinite", "finite"),
    ('{"prompt": "a", "n": [-1' + "0" * 400 + ".5]}", "which is infinite", "finite"),
    ('{"prompt": "a", "n": {"m": 1' + "0" * 5000 + "}}", "a whole number of 5,001 digits", "at most 1000"),
    ('{"prompt": "a\\ud83d"}', "half a character", "whole characters"),
    ('{"prompt": []}', "the column 'prompt' holds a list", "a conversation"),
    ('{"prompt": [{"role": "robot", "content": "x"}]}', "the role 'robot'", "system, user, assistant, tool"),
    ('{"prompt": [{"role": "user"}]}', "turn 1 of 'prompt' has null as its content", None),
    ('{"prompt": [{"role": "user", "content": " "}]}', "turn 1 of 'prompt' has no content", None),
    ('{"prompt": [{"role": "assistant", "content": "x"}]}', "ends with the assistant's turn", "user's turn"),
]


def test_every_bad_prompt_is_named_by_its_line(tmp_path: Path) -> None:
    file = jsonl(tmp_path, [row for row, _, _ in BAD_PROMPTS])
    found = read_file(file, "prompts", skip_bad=True)
    assert [p.text for p in found.prompts] == ["fine"]
    assert problems(found) == list(range(2, len(BAD_PROMPTS) + 1))
    for problem, (_, what, expected) in zip(found.problems, BAD_PROMPTS[1:], strict=True):
        assert what is not None
        assert what in problem.found
        assert (expected or "") in problem.expected


def test_strict_is_the_default_and_names_the_first_line_and_the_number_of_others(tmp_path: Path) -> None:
    file = jsonl(tmp_path, [row for row, _, _ in BAD_PROMPTS])
    with pytest.raises(PreflabError) as caught:
        read_file(file, "prompts")
    assert f"{file}, line 2: not JSON (Expecting ',' delimiter, column 15)" in caught.value.found
    assert "16 more bad lines: 3, 4, 5, 6, 7, 8, 9, 10, …" in caught.value.found
    assert "--skip-bad" in caught.value.do


def test_malformed_line_17_is_line_17_blank_lines_counted(tmp_path: Path) -> None:
    rows: list[Any] = [{"prompt": str(number)} for number in range(20)]
    rows[16], rows[3] = '{"prompt": }', ""
    with pytest.raises(PreflabError, match="line 17: not JSON"):
        read_file(jsonl(tmp_path, rows))
    assert len(read_file(jsonl(tmp_path, rows), skip_bad=True).prompts) == 18
    assert len(read_file(jsonl(tmp_path, rows), limit_rows=15).prompts) == 15


def test_text_that_is_not_utf8_is_named_by_line_and_byte(tmp_path: Path) -> None:
    file = tmp_path / "latin.jsonl"
    file.write_bytes(b'\xef\xbb\xbf{"prompt": "with a mark"}\n{"prompt": "P\xe4ckchen"}\n')
    with pytest.raises(PreflabError, match=r"line 2: not UTF-8 \(byte 14 is 0xe4\)"):
        read_file(file, "prompts")
    assert [p.text for p in read_file(file, "prompts", skip_bad=True).prompts] == ["with a mark"]


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PreflabError, match="no such file"):
        read_file(tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(PreflabError, match="no rows"):
        read_file(tmp_path / "empty.jsonl", "prompts")
    (tmp_path / "list.jsonl").write_text('[{"prompt": "a"}]')
    with pytest.raises(PreflabError, match="a JSON list"):
        read_file(tmp_path / "list.jsonl")
    (tmp_path / "table.xlsx").touch()
    with pytest.raises(PreflabError, match="'.xlsx'"):
        read_file(tmp_path / "table.xlsx")
    (tmp_path / "p.parquet").write_bytes(b"no parquet")
    with pytest.raises(PreflabError, match="a Parquet file|Parquet magic bytes"):
        read_file(tmp_path / "p.parquet")
    (tmp_path / "z.jsonl.gz").write_bytes(b"no gzip")
    with pytest.raises(PreflabError, match="gzip"):
        read_file(tmp_path / "z.jsonl.gz")
    with pytest.raises(PreflabError, match=r"several splits \(empty, list, p, z\)"):
        read_file(tmp_path)
    (tmp_path / "inside").mkdir()
    with pytest.raises(PreflabError, match="a folder without rows"):
        read_file(tmp_path / "inside")


def test_the_same_prompts_from_every_kind_of_file(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from datasets import Dataset, DatasetDict

    rows = [{"prompt": 'a, "b"\nc', "topic": "x"}, {"prompt": "Päckchen", "topic": "y"}]
    with (tmp_path / "p.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, ["prompt", "topic"])
        writer.writeheader()
        writer.writerows(rows)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "p.parquet")
    Dataset.from_list(rows).save_to_disk(tmp_path / "set")
    DatasetDict({"train": Dataset.from_list(rows)}).save_to_disk(tmp_path / "splits")
    plain = jsonl(tmp_path, rows)
    (tmp_path / "p.jsonl.gz").write_bytes(gzip.compress(plain.read_bytes()))
    expected = {Prompt.make(text=row["prompt"], columns={"topic": row["topic"]}).id for row in rows}
    for name in ("rows.jsonl", "p.csv", "p.parquet", "p.jsonl.gz", "set", "splits/train"):
        assert {p.id for p in read_file(tmp_path / name).prompts} == expected, name
    assert read_file(tmp_path / "p.csv").prompts[1].source == "p.csv, line 4"
    assert read_file(tmp_path / "p.parquet").prompts[1].source == "p.parquet, row 2"
    assert {p.id for p in read_file(tmp_path / "splits").prompts} == expected, "the only split needs no name"


def test_csv_rows_with_too_few_cells_are_named(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text('prompt,topic\n"a\nb",x\nc\nd,y\n')
    found = read_file(tmp_path / "p.csv", skip_bad=True)
    assert [p.text for p in found.prompts] == ["a\nb", "d"]
    assert problems(found) == [4]


def test_columns_can_be_renamed(tmp_path: Path) -> None:
    found = read_file(
        jsonl(tmp_path, [{"goal": "a", "target": "b"}]), rename={"goal": "prompt", "target": "completion"}
    )
    assert found.format == "demonstrations"


def test_demonstrations_and_texts(tmp_path: Path) -> None:
    rows = [
        {"prompt": "a", "completion": "1", "topic": "x"},
        {"prompt": "a", "completion": "2"},
        {"messages": [USER, ASSISTANT]},
        {"prompt": "a", "completion": " "},
        {"prompt": "a", "completion": "1", "topic": "other"},
        {"messages": [USER]},
        {"messages": [ASSISTANT]},
    ]
    found = read_file(jsonl(tmp_path, rows), "demonstrations", skip_bad=True)
    assert problems(found) == [4, 6, 7]
    assert [p.shown for p in found.prompts] == ["a", "user: Where?"]
    assert [(c.text, c.model, c.finish_reason, c.index) for c in found.completions] == [
        (text, "demonstration", "imported", index) for text, index in [("1", 0), ("2", 0), ("Here.", 0), ("1", 1)]
    ]
    assert found.demonstrations == [c.id for c in found.completions], "an example that stands there twice is two"
    assert found.repeats == {5: 1}
    assert [place.rpartition(" ")[2] for place in found.sources] == ["1", "2", "3", "5"]
    assert [found.completions[n].columns for n in (0, 3)] == [{"topic": "x"}, {"topic": "other"}]
    texts = read_file(jsonl(tmp_path, [{"text": "Once"}, {"text": "Twice"}, {"text": ""}]), "text", skip_bad=True)
    assert ([p.text for p in texts.prompts], [c.text for c in texts.completions]) == ([""], ["Once", "Twice"])
    assert problems(texts) == [3]


def test_trl_pairs(tmp_path: Path) -> None:
    rows = [
        {"prompt": "a", "chosen": "good", "rejected": "bad", "preflab_weight": 1, "annotator": 7},
        {"prompt": [USER], "chosen": [ASSISTANT], "rejected": [{"role": "assistant", "content": "No."}]},
        {"prompt": "a", "chosen": "same", "rejected": "same"},
        {"prompt": "a", "chosen": "good", "rejected": "bad"},
        {"prompt": "a", "chosen": "good"},
        {"prompt": "a", "chosen": [USER], "rejected": "x"},
        {"prompt": "a", "chosen": "bad", "rejected": "good"},
    ]
    found = read_file(jsonl(tmp_path, rows), "trl-explicit", skip_bad=True)
    assert said(found) == [
        ("a", "trl", ["good", "bad"]),
        ("user: Where?", "trl", ["Here.", "No."]),
        ("a", "trl", ["bad", "good"]),
    ]
    assert problems(found) == [3, 5, 6]
    assert found.repeats == {4: 1}
    assert [group.chosen_rejected() for group in found.preferences] == [[(0, 1, 1.0)]] * 3
    assert [group.pairs[0].num_for for group in found.preferences] == [2.0, 1.0, 1.0], "a row again is a vote again"
    assert len(found.completions) == 4, "the same text for the same prompt is one record"
    assert found.completions[0].columns == {"annotator": 7}


def test_the_prompt_inside_both_ends_where_a_word_ends(tmp_path: Path) -> None:
    rows: list[Row] = [
        {"chosen": "The sky is blue.", "rejected": "The sky is black."},
        {"chosen": "Say: yes", "rejected": "Say: yes please"},
        {"chosen": [USER, ASSISTANT], "rejected": [USER, {"role": "assistant", "content": "No."}]},
        {"chosen": "blue", "rejected": "black"},
        {"chosen": "a b", "rejected": "a b"},
        {"chosen": [USER, ASSISTANT], "rejected": [{"role": "user", "content": "Who?"}, ASSISTANT]},
        {"chosen": [USER, USER], "rejected": [USER, USER]},
    ]
    found = read_file(jsonl(tmp_path, rows), "trl-implicit", skip_bad=True)
    assert said(found) == [
        ("The sky is", "trl", [" blue.", " black."]),
        ("Say: yes", "trl", ["", " please"]),
        ("user: Where?", "trl", ["Here.", "No."]),
    ]
    assert problems(found) == [4, 5, 6, 7]


def test_what_is_concluded_about_a_file_is_said(tmp_path: Path) -> None:
    whole = {"prompt": "The sky", "chosen": "The sky is blue", "rejected": "The sky is green"}
    found = read_file(jsonl(tmp_path, [whole]))
    assert found.completions[0].text == "The sky is blue", "as it stands there"
    (note,) = found.notes
    assert note.startswith("both completions begin with the prompt")
    found = read_file(jsonl(tmp_path, [whole]), rename={"prompt": "asked"})
    assert (found.format, said(found)) == ("trl-implicit", [("The sky is", "trl", [" blue", " green"])])
    other = {"prompt": "Grass is", "chosen": " green", "rejected": " blue"}
    assert read_file(jsonl(tmp_path, [whole, other])).notes == []
    rows: list[Row] = [{"prompt": "1+1?", "answer": "2"}, {"prompt": "1+1?", "answer": "two"}, {"prompt": "2?"}]
    found = read_file(jsonl(tmp_path, [*rows, rows[2]]))
    assert len(found.prompts) == 3
    assert found.lines() == [
        "columns used: prompt",
        "kept with the records: answer",
        "answers for reward functions, with each prompt: answer",
        "1 prompt more than once, with other columns: each is a prompt of its own",
        "1 row equal to an earlier one: line 4 (as line 3)",
    ]


def test_rows_of_one_id_and_other_content_are_refused(tmp_path: Path) -> None:
    row = {"id": "7", "prompt": "a", "response1": "x", "response2": "y", "best.responses": ["response1"]}
    found = read_file(jsonl(tmp_path, [row, row]))
    assert (len(found.judgments), found.repeats) == (1, {2: 1})
    with pytest.raises(PreflabError, match="line 2: the same id as line 1, and other content"):
        read_file(jsonl(tmp_path, [row, row | {"response1": "z"}]))


def test_labels_are_shares_of_thumbs(tmp_path: Path) -> None:
    rows = [
        {"prompt": "a", "completion": "x", "label": True},
        {"prompt": "a", "completion": "y", "label": 0},
        {"prompt": "a", "completion": "x", "label": False},
        {"prompt": "b", "completion": "x", "label": "yes"},
        {"prompt": "a", "completion": "x", "label": 1},
    ]
    found = read_file(jsonl(tmp_path, rows), "trl-unpaired", skip_bad=True)
    (group,) = found.preferences
    assert group.thumbs == (2 / 3, 0.0)
    assert group.ranks == (1, 1)
    assert group.pairs == (), "labels do not say which of two is better"
    assert problems(found) == [4]


def turns(*parts: str) -> str:
    return "".join(f"\n\n{'Human' if n % 2 == 0 else 'Assistant'}: {part}" for n, part in enumerate(parts))


HH = [
    {"chosen": turns("a", "b", "c", "good"), "rejected": turns("a", "b", "c", "bad")},
    {"chosen": turns("a", "same"), "rejected": turns("a", "same")},
    {"chosen": turns("a", "b", "c", "d"), "rejected": turns("a", "other", "c", "d")},
    {"chosen": "no turns", "rejected": "none here"},
    {"chosen": "\n\nAssistant: x", "rejected": "\n\nAssistant: y"},
    {"chosen": turns("a", ""), "rejected": turns("a", "said")},
]


def test_hh_rlhf_keeps_every_letter(tmp_path: Path) -> None:
    found = read_file(jsonl(tmp_path, HH), skip_bad=True)
    assert found.format == "hh-rlhf"
    assert said(found) == [
        (turns("a", "b", "c") + "\n\nAssistant:", "hh-rlhf", [" good", " bad"]),
        (turns("a") + "\n\nAssistant:", "hh-rlhf", [" ", " said"]),
    ]
    assert [(p.line, p.found) for p in found.problems] == [
        (2, "chosen and rejected are equal"),
        (3, "the transcripts differ before the last assistant's turn"),
        (4, "a transcript without an assistant's turn"),
        (5, "an empty prompt"),
    ]


def test_hh_rlhf_as_turns(tmp_path: Path) -> None:
    found = read_file(jsonl(tmp_path, HH), "hh-rlhf-chat", skip_bad=True)
    assert found.prompts[0].messages == (Message("user", "a"), Message("assistant", "b"), Message("user", "c"))
    assert [texts for _, _, texts in said(found)] == [["good", "bad"], ["", "said"]]


def rated(model: str, words: str, *ratings: str, hyphen: bool = False) -> Row:
    aspects = ["instruction-following" if hyphen else "instruction_following", "honesty"]
    notes = {aspect: {"Rating": rating, "Rationale": "…"} for aspect, rating in zip(aspects, ratings, strict=True)}
    return {"model": model, "response": words, "annotations": notes, "overall_score": 10}


def test_ultrafeedback_ranks_by_the_mean_rating(tmp_path: Path) -> None:
    entries = [
        rated("m1", "middling", "3", "4"),
        rated("m2", "best", "5", "5", hyphen=True),
        rated("m3", "as good as the first", "5", "2"),
        rated("m4", "unrated", "N/A", "N/A"),
    ]
    rows = [
        {"instruction": "Where?", "completions": entries, "source": "web"},
        {"instruction": "Who?", "completions": entries[:1]},
        {"instruction": "When?", "completions": [rated("m1", "x", "6", "1"), entries[1]]},
    ]
    found = read_file(jsonl(tmp_path, rows), skip_bad=True)
    (group,) = found.preferences
    assert group.ranks == (2, 1, 2)  # means 3.5, 5, 3.5
    assert group.scores == {
        "instruction_following": (3.0, 5.0, 5.0),
        "honesty": (4.0, 5.0, 2.0),
        "overall": (10.0, 10.0, 10.0),
    }
    assert group.chosen_rejected() == [(1, 0, 0.5), (1, 2, 0.5)]
    assert [c.model for c in found.completions] == ["m1", "m2", "m3"]
    assert found.prompts[0].columns == {"source": "web"}
    assert sum(found.left_out.values()) == 2
    assert [(p.line, p.found) for p in found.problems] == [
        (3, "the rating '6' for instruction_following of completion 1")
    ]


def test_stiennon_votes_are_counted_together(tmp_path: Path) -> None:
    info = {"id": "t3", "post": "I lost my parcel.", "title": "Help", "subreddit": "mail", "article": None}
    first, second = {"text": " one", "policy": "sup4"}, {"text": " two", "policy": "ref"}
    rows: list[Row] = [
        {"info": info, "summaries": [first, second], "choice": 1, "worker": "w1"},
        {"info": info, "summaries": [second, first], "choice": 0, "worker": "w2"},
        {"info": info, "summaries": [first, second], "choice": 0, "worker": "w3"},
        {"info": {"article": "News."}, "summaries": [first, second], "choice": 0, "worker": "w1"},
        {"info": info, "summaries": [first, second], "choice": 2},
        {"info": info, "summaries": [first, first], "choice": 0},
        {"info": {}, "summaries": [first, second], "choice": 0},
    ]
    found = read_file(jsonl(tmp_path, rows), skip_bad=True)
    assert said(found) == [
        ("SUBREDDIT: r/mail\n\nTITLE: Help\n\nPOST: I lost my parcel.\n\nTL;DR:", "stiennon", [" two", " one"]),
        ("Article: News.\n\nTL;DR:", "stiennon", [" one", " two"]),
    ]
    assert [abs(group.pairs[0].margin) for group in found.preferences] == [1.0, 1.0]
    assert found.preferences[0].pairs[0].num_for + found.preferences[0].pairs[0].num_against == 3.0
    assert problems(found) == [5, 6, 7]


def test_arena_battles(tmp_path: Path) -> None:
    def battle(winner: str, words: str = "Where?") -> Row:
        asked = {"role": "user", "content": words}
        sides = {f"conversation_{s}": [asked, {"role": "assistant", "content": s}] for s in "ab"}
        return {"model_a": "m1", "model_b": "m2", "winner": winner, **sides}

    rows = [battle("model_a"), battle("tie"), battle("model_b", "Who?"), battle("tie (bothbad)", "When?"), battle("x")]
    found = read_file(jsonl(tmp_path, rows), skip_bad=True)
    assert {shown: texts for shown, _, texts in said(found)}["user: Where?"] == ["a", "b"]
    assert {shown: texts for shown, _, texts in said(found)}["user: Who?"] == ["b", "a"]
    where, _, when = found.preferences
    assert (where.pairs[0].num_tie, when.ranks, when.pairs) == (1.0, (None, None), ())
    assert problems(found) == [5]
    wide = {
        "prompt": '["Where?", "And?"]',
        "response_a": '["Here.", "a"]',
        "response_b": '["Here.", "b"]',
        "winner_model_a": 0,
        "winner_model_b": 1,
        "winner_tie": 0,
    }
    rows = [wide, wide | {"winner_tie": 1}, wide | {"prompt": "Where?"}, wide | {"response_b": '["Gone.", "b"]'}]
    found = read_file(jsonl(tmp_path, rows), skip_bad=True)
    whole = "assistant: {}\n\nuser: And?\n\nassistant: {}"
    assert said(found) == [
        ("user: Where?\n\nassistant: Here.\n\nuser: And?", "chatbot-arena", ["b", "a"]),
        ("user: Where?", "chatbot-arena", [whole.format("Gone.", "b"), whole.format("Here.", "a")]),
    ]
    assert problems(found) == [2, 3]


def message(role: str, words: str, *replies: Row, rank: int | None = None, **other: Any) -> Row:
    return {"message_id": words, "role": role, "text": words, "replies": list(replies), "rank": rank, **other}


def test_oasst_every_ranked_message_is_one_group(tmp_path: Path) -> None:
    deep = message("prompter", "And then?", *[message("assistant", w, rank=r) for w, r in [("x", 1), ("y", 0)]])
    tree = message(
        "prompter",
        "Where?",
        message("assistant", "second", rank=1),
        message("assistant", "best", deep, rank=0, synthetic=True, model_name="m"),
        message("assistant", "as bad", rank=4),
        message("assistant", "as bad too", rank=4),
        message("assistant", "unranked"),
        message("assistant", "gone", message("prompter", "below"), rank=2, deleted=True),
    )
    alone = message("prompter", "Who?", message("assistant", "only", rank=0))
    rows: list[Row] = [{"message_tree_id": str(n), "prompt": root} for n, root in enumerate([tree, alone])]
    rows += [{"message_tree_id": "2", "prompt": message("robot", "x")}, rows[0]]
    rows += [{"message_tree_id": "3", "prompt": message("prompter", "x", message("assistant", "y", rank=-1))}]
    found = read_file(jsonl(tmp_path, rows), skip_bad=True)
    assert said(found) == [
        ("user: Where?", "oasst", ["best", "second", "as bad", "as bad too"]),
        ("user: Where?\n\nassistant: best\n\nuser: And then?", "oasst", ["y", "x"]),
    ]
    assert found.preferences[0].ranks == (2, 1, 3, 3)
    # 6 pairs of 4, one tied: 5 decided, each weighing 1/5.
    assert found.preferences[0].chosen_rejected() == [(1, 0, 0.2), (0, 2, 0.2), (0, 3, 0.2), (1, 2, 0.2), (1, 3, 0.2)]
    assert [c.model for c in found.completions[:2]] == ["oasst-person", "m"]
    assert found.left_out == {DELETED: 1, SINGLE: 1, UNRANKED: 1}
    assert problems(found) == [3, 5]
    assert found.repeats == {4: 1}
