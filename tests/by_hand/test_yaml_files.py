"""YAML that would unfold, nest or count without end is refused by its line, in a moment."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from preflab.errors import PreflabError
from preflab.yaml_files import MAX_DEPTH, parse, read_yaml

ALIASES = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10))
REFUSED = {
    "aliases of aliases": (ALIASES, "line 6: 211,111 values once its aliases are expanded"),
    "an alias inside itself": ("a: 1\nb: &b [1, *b]", "line 2: an alias is inside the value that it names"),
    "brackets": ("a: " + "[" * 5000, f"more than {MAX_DEPTH} levels"),
    "dashes": ("- " * 3000 + "1", f"more than {MAX_DEPTH} levels"),
    "mappings": ("{a: " * 3000, f"more than {MAX_DEPTH} levels"),
    "a merge": (
        "a: &a {b: 1}\nc:\n  <<: *a",
        "line 3: `<<` merges the keys of another mapping, which is not supported",
    ),
    "digits": ("a: 1\nb: " + "1" * 5000, "line 2: a whole number of 5,000 characters"),
    "digits of base 2": ("a: 0b" + "1" * 50_000, "a whole number of 50,002 characters"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_yaml_refuses_expanding_and_nested_values(name: str) -> None:
    text, found = REFUSED[name]
    with pytest.raises(PreflabError) as error:
        parse(text, "f.yaml")
    assert found in error.value.found


NO_VALUES = {
    r'"\ud83d"': ("half a character", "whole characters"),
    r'"a\0b"': ("a NUL character", "whole characters"),
    r'"\UFFFFFFFF"': ("an escape that is no character", "at most"),
    "\x07": ("the character U+0007", "no control characters"),
    "!!binary aGk=": ("the tag `!!binary`", "YAML's own types"),
    "!!set {a}": ("the tag `!!set`", "YAML's own types"),
    "!!omap [a: 1]": ("the tag `!!omap`", "YAML's own types"),
    "!!pairs [a: 1]": ("the tag `!!pairs`", "YAML's own types"),
    "!!timestamp 2001-01-01": ("the tag `!!timestamp`", "YAML's own types"),
    "!!python/object:os.system {}": ("the tag `!!python/object:os.system`", "YAML's own types"),
    "!own b": ("the tag `!own`", "YAML's own types"),
    "!!int abc": ("`!!int` stands before `abc`", "a whole number"),
    "!!int ''": ("`!!int` stands before ``", "a whole number"),
    "!!int 08": ("`!!int` stands before `08`", "a whole number"),
    "!!int 1:40": ("`!!int` stands before `1:40`", "a whole number"),
    "!!float abc": ("`!!float` stands before `abc`", "a number"),
    "!!float 0x10": ("`!!float` stands before `0x10`", "a number with a point"),
    "!!bool abc": ("`!!bool` stands before `abc`", "`true` or `false`"),
    "!!null abc": ("`!!null` stands before `abc`", "nothing"),
    "!!map [a]": ("`!!map` stands before a list", "a mapping"),
    "{1: 2}": ("the key 1 is not a name", "YAML"),
    r'{"\udc00": 2}': ("half a character", "whole characters"),
    ".nan": (".nan is not a finite number", "a finite number"),
    "-.inf": ("-.inf is not a finite number", "a finite number"),
    "9" * 5000 + ".0e5": ("99… is not a finite number", "a finite number"),
}


@pytest.mark.parametrize("written", NO_VALUES, ids=lambda written: ascii(written)[:30])
def test_yaml_refuses_invalid_values_by_line(written: str) -> None:
    found, expected = NO_VALUES[written]
    with pytest.raises(PreflabError) as error:
        parse(f"a: 1\nb: {written}\n", "f.yaml")
    assert error.value.found.startswith("f.yaml, line 2: ")
    assert found in error.value.found
    assert expected in error.value.expected
    assert error.value.do
    assert len(error.value.found) < 200


def test_yaml_base_60_numbers_and_dates_are_texts() -> None:
    for text in ("1:40", "-1:40", "1:40.5", "190:20:30", "1:59" + ":59" * 3000 + ".5", "2001-01-01", "=", "0x_"):
        assert parse(f"a: {text}", "f.yaml") == {"a": text}


def test_yaml_numbers_of_every_form() -> None:
    written = {
        "1e-4": 1e-4,
        "-.5": -0.5,
        "1_000": 1000,
        "0x1F": 31,
        "1.": 1.0,
        "6.5e+3": 6500.0,
        "0": 0,
        "!!float 3": 3.0,
    }
    for text, number in written.items():
        value = parse(f"a: {text}", "f.yaml")["a"]
        assert (value, type(value)) == (number, type(number))


def test_yaml_joins_escaped_surrogates() -> None:
    assert parse(r'a: "\ud83d\ude00 b"', "f.yaml") == {"a": "😀 b"}


def test_yaml_reads_values_near_the_limits() -> None:
    deep = "[" * (MAX_DEPTH - 2) + "1" + "]" * (MAX_DEPTH - 2)
    assert str(parse(f"a: {deep}", "f.yaml")["a"]) == deep
    assert parse("a: &x [1, 2]\nb: *x\nc: *x", "f.yaml") == {"a": [1, 2], "b": [1, 2], "c": [1, 2]}
    assert parse("a: " + "9" * 100, "f.yaml") == {"a": 10**100 - 1}
    assert parse("", "f.yaml") is None


def test_yaml_refuses_paths_that_are_not_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, what in ((tmp_path / "pipe", "a pipe"), (Path("/dev/zero"), "a device")):
        with pytest.raises(PreflabError, match=f"{what}, not a file"):
            read_yaml(path)
