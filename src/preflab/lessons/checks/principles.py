"""Exercise 10: how many principles preflab's constitution has, and which one pulls against too much caution."""

from __future__ import annotations

from preflab.constitution.principles import read_constitution
from preflab.lessons.checks.verdict import Verdict, numbers_in

WANTED = "refusing too much"


def check(answer: str) -> Verdict:
    """Compare with the constitution that preflab includes."""
    (num,) = numbers_in(answer, 1)
    names = [principle.name for principle in read_constitution().principles]
    if num != len(names):
        return Verdict(False, f"{num:g} is not their number: count the names under `principles`, not the examples.")
    if WANTED in answer.lower():
        return Verdict(
            True,
            f'{len(names)} principles. Without "{WANTED}" a model learns that refusing is always the safest answer.',
        )
    named = next((name for name in names if name in answer.lower()), None)
    if named is None:
        return Verdict(False, "the number is right, and the name of a principle is missing, as it stands in the file.")
    return Verdict(False, f'the number is right. "{named}" does not stop a model from refusing harmless requests.')
