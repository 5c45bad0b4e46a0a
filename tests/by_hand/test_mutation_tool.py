"""The tool behind `make mutants`: which changes are made, that a change is noticed, and that no file is touched."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mutation.operators import changed_tree, places
from mutation.processes import Ended, Job, run_jobs
from mutation.pytest_runs import try_change
from mutation.sources import changes, known_changes

AVERAGE = '''
"""A toy."""


def mean(values, floor=0):
    """Sum divided by number, at least `floor`."""
    if not values:
        raise ValueError(f"{len(values) - 1} values")
    return max(sum(values) / len(values), floor)


def unused(value):
    return value - 1
'''
TESTS = """
from preflab.maths.toy import mean


def test_mean_by_hand():
    assert mean([1, 2, 6]) == 3
    assert mean([-4, -4]) == 0
"""


def results(source: str) -> list[tuple[str, str, str]]:
    """(operator, before, after) of every change of a source."""
    return [(place.operator, place.before, place.after) for place in places(ast.parse(source))]


@pytest.mark.parametrize(
    ("source", "changes"),
    [
        ("x = a + b", {"x = a - b"}),
        ("x = a / b", {"x = a * b"}),
        ("x += a", {"x -= a"}),
        ("x = a < b", {"x = a <= b", "x = a >= b"}),
        ("x = a >= b", {"x = a > b", "x = a < b"}),
        ("x = a == b", {"x = a != b"}),
        ("x = a and b", {"x = a or b"}),
        ("x = -a", {"x = a"}),
        ("x = f(-1)", {"x = f(1)", "x = f(-0)"}),
        ("x = not a", {"x = a"}),
        ("x = a.sum(-1)", {"x = a.sum(-0)"}),
        ("x = a.cat(b, dim=-1)", {"x = a.cat(b, dim=-0)", "x = a.cat(b)"}),
        ("x = a.shape[-1]", {"x = a.shape[-0]"}),
        ("def wrong(a) -> PreflabError:\n    return PreflabError(a[0])", set()),
        ("x = a[-1]", {"x = a[-0]", "x = a[1]"}),
        ("x = 0", {"x = 1"}),
        ("x = 1.0", {"x = 0"}),
        ("x = 0.5", {"x = 1.5"}),
        ("x = True", {"x = False"}),
        ("x = min(a, b)", {"x = max(a, b)"}),
        ("x = a.argmax()", {"x = a.argmin()"}),
        ("x = f(a, b)", {"x = f(b, a)"}),
        ("x = f(a, key=b)", {"x = f(a)"}),
        ("x = a if c else b", {"x = b if c else a"}),
        ("if c:\n    f()\nelse:\n    g()", {"if c:\n    g()\nelse:\n    f()"}),
        ("if c:\n    f()", {"if not c:\n    f()"}),
    ],
)
def test_operators_make_exactly_these_changes(source: str, changes: set[str]) -> None:
    num = len(results(source))
    assert {ast.unparse(changed_tree(source, i)) for i in range(num)} == changes
    assert num == len(changes)


@pytest.mark.parametrize(
    "source",
    [
        '"""Text of 1 + 1."""',
        "x: Literal[1]",
        "def f(a: Literal[1]) -> Literal[2]: ...",
        "raise ValueError(1 - a)",
        "assert a < 1",
        "x = f'{a - 1}'",
        "x = 'a' + b",
        "x = number(a, 2)",
        "check_same_shape(x=a, y=b)",
        "bar.advance(1, loss=a + b)",
        "if on_done is not None:\n    on_done(1)",
        "def f(*, seed=0): ...",
        "def f(a, seed=0): ...",
        "class A:\n    __slots__ = f(1)",
        "x = list(zip(a, strict=True))",
        "@cache(1)\ndef f(): ...",
    ],
)
def test_places_that_change_no_number_are_left_out(source: str) -> None:
    assert results(source) == []


def test_changes_are_named_by_their_expression_and_function() -> None:
    source = "class A:\n    def f(self):\n        def g():\n            return h(a, 2)\n        return -1\n"
    described = [(p.function, p.line, p.before, p.after) for p in places(ast.parse(source))]
    assert described == [
        ("A.f.<locals>.g", 4, "h(a, 2)", "h(2, a)"),
        ("A.f.<locals>.g", 4, "h(a, 2)", "h(a, 3)"),
        ("A.f", 5, "-1", "1"),
        ("A.f", 5, "return -1", "return -0"),
    ]


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """A checkout with one source file and one test."""
    files = {
        "src/preflab/__init__.py": "",
        "src/preflab/maths/__init__.py": "",
        "src/preflab/maths/toy.py": AVERAGE,
        "tests/by_hand/test_toy.py": TESTS,
        "pyproject.toml": '[tool.pytest.ini_options]\npythonpath = ["src"]\n',
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def run_tool(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    tests = Path(__file__).resolve().parents[1]
    command = [sys.executable, "-m", "mutation", "--root", str(root), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(tests), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=300, check=False)


def test_changes_of_a_toy_are_noticed_where_a_test_would_fail_and_no_file_is_touched(toy: Path) -> None:
    before = {file: file.read_bytes() for file in toy.rglob("*") if file.is_file()}
    ran = run_tool(toy, "--num", "100")
    # mean: floor=0 → 1; `if not values` without not; max → min; arguments exchanged inside max (symmetric: not made);
    # / → *. All noticed. unused: − → +, 1 → 0. No test runs it: both survive.
    assert "6 changes made, 4 noticed, 2 survived (33.3 %" in ran.stdout, ran.stdout + ran.stderr
    assert "src/preflab/maths/toy.py:13 unused: value - 1 → value + 1 (arithmetic)" in ran.stdout
    assert ran.returncode == 1
    after = {file: file.read_bytes() for file in toy.rglob("*") if file.is_file() and "build" not in file.parts}
    assert after == before


def test_a_fault_of_the_tool_is_no_notice(tmp_path: Path) -> None:
    """A job that raises an error is told apart from one that dies, which a change may bring about."""
    ended: dict[int, Ended] = {}
    jobs = [Job(lambda folder: 1 / 0, 5), Job(lambda folder: os.kill(os.getpid(), 9), 5), Job(lambda folder: "x", 5)]
    run_jobs(jobs, 2, ended.__setitem__)
    assert [(ended[i].result, ended[i].raised) for i in range(3)] == [(None, True), (None, False), ("x", False)]
    assert "ZeroDivisionError" in ended[0].output


def test_a_name_that_is_no_test_ends_the_run(toy: Path, tmp_path: Path) -> None:
    change = next(iter(changes(toy, "")))
    ended: dict[int, Ended] = {}
    job = Job(lambda folder: try_change(toy, change, ["tests/by_hand/test_toy.py::test_of_nobody"], folder), 30)
    run_jobs([job], 1, ended.__setitem__)
    assert ended[0].raised
    assert "pytest was called wrongly" in ended[0].output


def test_a_place_without_changes_is_named_before_anything_runs(toy: Path) -> None:
    ran = run_tool(toy, "--only", "nothing")
    assert ran.returncode == 1
    assert "no file in which changes are made has 'nothing' in its path" in ran.stderr
    assert "watch" not in ran.stdout + ran.stderr


def test_every_known_change_is_still_one_that_is_made(repository: Path) -> None:
    """An entry whose line was rewritten would excuse nothing and say something untrue."""
    made = {change.name for change in changes(repository, "")}
    assert not [name for name in known_changes(repository) if name not in made]


def test_known_changes_are_left_out_and_counted(toy: Path) -> None:
    known = toy / "tests" / "mutation" / "known.yaml"
    known.parent.mkdir()
    entries = ["maths/toy.py, unused: value - 1 → value + 1", "maths/toy.py, unused: value - 1 → value - 0"]
    known.write_text("".join(f"- change: '{name}'\n  reason: nobody calls it\n" for name in entries), encoding="utf-8")
    ran = run_tool(toy, "--all")
    assert "4 changes made, 4 noticed, 0 survived (0.0 %" in ran.stdout, ran.stdout + ran.stderr
    assert "2 more were drawn that are known to change no number" in ran.stdout
    assert ran.returncode == 0


def test_endless_loops_are_stopped_and_count_as_noticed(toy: Path) -> None:
    """`while n > 0: n -= 1` with n += 1 never ends."""
    (toy / "src/preflab/maths/toy.py").write_text("def mean(n):\n    while n:\n        n -= 1\n    return n\n")
    (toy / "tests/by_hand/test_toy.py").write_text(
        "from preflab.maths.toy import mean\n\ndef test_mean_ends():\n    assert mean(3) == 0\n"
    )
    ran = run_tool(toy, "--num", "100", "--seconds", "3")
    assert "2 changes made, 2 noticed, 0 survived" in ran.stdout, ran.stdout + ran.stderr
    assert "stopped: out of time" in ran.stderr
