"""Turns in a text cell: JSON and Python's form are read alike, numpy's and broken ones are refused by line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from layout_words import demonstrations, groups
from preflab.errors import PreflabError
from preflab.store.exports.trainer_texts import reads_as_turns
from preflab.store.formats import read_file

USER = {"content": "Where's it?", "role": "user"}
HERE, GONE = ({"content": words, "role": "assistant"} for words in ('"Here"\nnow', "Gone."))
PYTHON = "turns as Python or numpy writes them, not JSON"


def csv_of(path: Path, row: dict[str, Any]) -> Path:
    file = path / "rows.csv"
    pd.DataFrame([row]).to_csv(file, index=False)
    return file


def array(*turns: dict[str, str]) -> Any:
    """Turns as Parquet read by pandas has them."""
    held = np.empty(len(turns), dtype=object)
    held[:] = turns
    return held


def test_turns_as_pandas_writes_lists_are_turns(tmp_path: Path) -> None:
    pair = {"ranks": {HERE["content"]: 1, "Gone.": 2}, "pairs": {(HERE["content"], "Gone."): 1.0}}
    expected = [{"prompt": "user: Where's it?", **pair}]
    for make in (list, lambda turns: array(*turns)):  # an array of one turn looks like a list
        file = csv_of(tmp_path, {"prompt": make([USER]), "chosen": make([HERE]), "rejected": make([GONE])})
        assert "[{'content'" in file.read_text()
        assert groups(read_file(file)) == expected
    file = csv_of(tmp_path, {"chosen": [USER, HERE], "rejected": [USER, GONE]})
    assert groups(read_file(file)) == expected
    for row in ({"messages": [USER, HERE]}, {"prompt": "Where's it?", "completion": [HERE]}):
        assert demonstrations(read_file(csv_of(tmp_path, row))) == [("user: Where's it?", HERE["content"])]
    turn = {"prompt": "Where's it?", "completion": str(HERE)}
    assert demonstrations(read_file(csv_of(tmp_path, turn)))[0][1] == HERE["content"]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "a", "chosen": array(USER, HERE), "rejected": array(USER, GONE)},
        {"chosen": array(USER, HERE), "rejected": array(USER, GONE)},
        {"prompt": array(USER, HERE, USER)},
        {"prompt": "a", "completion": array(HERE, GONE)},
        {"messages": array(USER, HERE)},
        {"prompt": "Where's it?", "messages": array(USER, HERE)},
        {"text": str(array(USER, HERE))},
        {"prompt": "a", "completion": str([HERE, USER])[:-3]},
        {"prompt": "a", "completion": str([{**HERE, "tool_calls": [{1, 2}]}])},
        {"prompt": "a", "completion": str([{**HERE, "tool_calls": [{(1, 2): 3}]}])},
        {"prompt": "a", "completion": str([{**HERE, "weight": float("nan")}])},
        {"prompt": "a", "completion": "[{'role': 'assistant', 'content': '\\ud83d'}]"},
        {"prompt": "a", "completion": "[{'role': 'assistant', 'content': print('x')}]"},
    ],
)
def test_turns_as_numpy_writes_them_are_refused(tmp_path: Path, row: dict[str, Any]) -> None:
    with pytest.raises(PreflabError) as caught:
        read_file(csv_of(tmp_path, row))
    assert PYTHON in caught.value.found
    assert 'df.to_json(FILE, orient="records", lines=True)' in caught.value.expected


def test_a_later_row_of_numpys_turns_is_named_by_line(tmp_path: Path) -> None:
    rows = [{"prompt": str(n), "completion": "b"} for n in range(30)]
    rows[25]["completion"] = str(array(HERE, GONE))
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(PreflabError, match=f"line 26: the column 'completion' holds {PYTHON}"):
        read_file(file)


@pytest.mark.parametrize(
    "cell", [json.dumps([USER, HERE])[:60], '[{"role": "assistant", "content": "b", "weight": NaN}]']
)
def test_json_of_turns_that_cannot_be_read_is_no_text(tmp_path: Path, cell: str) -> None:
    with pytest.raises(PreflabError, match="line 2: the column 'completion' holds turns in a text, cut off or not"):
        read_file(csv_of(tmp_path, {"prompt": "a", "completion": cell}))
    assert reads_as_turns(cell), "an export drops it and counts it"


def test_turns_in_indented_json_are_turns(tmp_path: Path) -> None:
    row = {"prompt": "a", "completion": json.dumps([HERE], indent=1)}
    assert demonstrations(read_file(csv_of(tmp_path, row)))[0][1] == HERE["content"]


@pytest.mark.parametrize(
    "text", ["{'a': 1}", "[{'role': 'admin'}]", "[{'x': 'user'}, {'y': 2}]", '{"role": "tool"}', "[1, 2]", "{'role"]
)
def test_other_objects_in_a_text_stay_texts(tmp_path: Path, text: str) -> None:
    assert demonstrations(read_file(csv_of(tmp_path, {"prompt": "a", "completion": text}))) == [("a", text)]
    assert not reads_as_turns(text)
