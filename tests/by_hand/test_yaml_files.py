"""YAML that would unfold, nest or count without end is refused by its line, in a moment."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from preflab.errors import PreflabError
from preflab.yaml_files import MAX_DEPTH, parse, read_yaml

ALIASES = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10))
REFUSED = {
    "aliases of aliases": (ALIASES, "line 6: 211,111 values once its aliases are unfolded"),
    "an alias inside itself": ("a: 1\nb: &b [1, *b]", "line 2: an alias stands inside what it names"),
    "brackets": ("a: " + "[" * 5000, f"more than {MAX_DEPTH} levels"),
    "dashes": ("- " * 3000 + "1", f"more than {MAX_DEPTH} levels"),
    "mappings": ("{a: " * 3000, f"more than {MAX_DEPTH} levels"),
    "a merge": ("a: &a {b: 1}\nc:\n  <<: *a", "line 3: `<<` merges the keys of another mapping, which is not read"),
    "digits": ("a: 1\nb: " + "1" * 5000, "line 2: a whole number of 5,000 characters"),
    "digits of base 2": ("a: 0b" + "1" * 50_000, "a whole number of 50,002 characters"),
    "digits of base 60": ("a: 1:" + "59:" * 4000 + "1", "a whole number of 12,003 characters"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_end_is_refused(name: str) -> None:
    text, found = REFUSED[name]
    with pytest.raises(PreflabError) as error:
        parse(text, "f.yaml")
    assert found in error.value.found


def test_what_is_near_the_limits_is_read() -> None:
    deep = "[" * (MAX_DEPTH - 2) + "1" + "]" * (MAX_DEPTH - 2)
    assert str(parse(f"a: {deep}", "f.yaml")["a"]) == deep
    assert parse("a: &x [1, 2]\nb: *x\nc: *x", "f.yaml") == {"a": [1, 2], "b": [1, 2], "c": [1, 2]}
    assert parse("a: " + "9" * 100, "f.yaml") == {"a": 10**100 - 1}
    assert parse("", "f.yaml") is None


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, what in ((tmp_path / "pipe", "a pipe"), (Path("/dev/zero"), "a device")):
        with pytest.raises(PreflabError, match=f"{what}, not a file"):
            read_yaml(path)
