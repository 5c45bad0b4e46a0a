"""Cells that a spreadsheet would run are neutralised; everything else is left as it is."""

from __future__ import annotations

import csv
import io

import pytest

from preflab.store.exports.cells import safe_cell, write_csv


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "  =1+1", "|calc", "%0A", "＝1", "=cmd|' /C calc'!A0"],
)
def test_what_begins_like_a_formula_gets_an_apostrophe(text: str) -> None:
    assert safe_cell(text) == "'" + text


@pytest.mark.parametrize("value", ["", "fine", "a=b", "'quoted", 3, -3, 0.5, True])
def test_other_values_stay_as_they_are(value: object) -> None:
    assert safe_cell(value) == value
    assert type(safe_cell(value)) is type(value)


def test_a_whole_file_comes_back() -> None:
    file = io.StringIO(newline="")
    write_csv(file, ["name", "=note"], [["=evil()", 'a "quoted", line\nand more'], [None, -2.5]])
    rows = list(csv.reader(io.StringIO(file.getvalue(), newline="")))
    assert rows == [["name", "'=note"], ["'=evil()", 'a "quoted", line\nand more'], ["", "-2.5"]]
