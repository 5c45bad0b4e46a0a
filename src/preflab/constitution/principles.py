"""A constitution: a YAML file of principles, read strictly; the team edits it, and behaviour follows."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from preflab.errors import PreflabError
from preflab.settings.base import Settings

MARK = re.compile(r"{(\w+)}")
CRITIQUE_MARKS = {"prompt", "answer", "critique_request"}
REVISION_MARKS = {"prompt", "answer", "critique", "revision_request"}
COMPARISON_MARKS = {"question", "prompt", "first", "second"}


def _said(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty: say it in a sentence, or leave the principle out")
    return text.strip()


class Principle(Settings):
    """One principle, in the words of the team."""

    name: str
    """A short name, unique."""
    critique: str
    """Asks for what is wrong with an answer."""
    revision: str
    """Asks for a better one."""
    comparison: str
    """Asks which of two answers is better."""
    weight: float = Field(1.0, ge=0)
    """How often it is drawn, beside the others."""

    _not_empty = field_validator("name", "critique", "revision", "comparison")(_said)


class Example(Settings):
    """A whole critique and revision, shown to models too small to follow the form."""

    prompt: str
    answer: str
    critique: str
    revision: str

    _not_empty = field_validator("prompt", "answer", "critique", "revision")(_said)


class Layout(Settings):
    """The texts a model goes on with: for the critique, for the revision, and for naming the better of two answers."""

    critique: str
    revision: str
    comparison: str | None = None
    """For a judge by likelihood: after it comes one of `labels`. None: preflab's own wording."""
    labels: tuple[str, str] = ("A", "B")
    """How `comparison` calls the first answer and the second."""
    separator: str = "\n\n---\n\n"
    """Stands between examples and the question."""

    @model_validator(mode="after")
    def _all_marks(self) -> Layout:
        """Every mark is known, and none that is needed is missing."""
        texts = [("critique", self.critique, CRITIQUE_MARKS), ("revision", self.revision, REVISION_MARKS)]
        if self.comparison is not None:
            texts.append(("comparison", self.comparison, COMPARISON_MARKS))
        for name, text, marks in texts:
            found = set(MARK.findall(text))
            if wrong := sorted(found - marks):
                raise ValueError(f"layout.{name} has the mark {{{wrong[0]}}}; known: {', '.join(sorted(marks))}")
            needed = marks - {"critique_request", "revision_request"}
            if missing := sorted(needed - found):
                raise ValueError(f"layout.{name} lacks the mark {{{missing[0]}}}")
        return self

    @model_validator(mode="after")
    def _labels_are_two_names(self) -> Layout:
        """Labels that can be told apart, and a wording that uses them."""
        if self.comparison is None and "labels" in self.model_fields_set:
            raise ValueError("layout.labels is given without layout.comparison: nothing would ask for them")
        first, second = (label.strip() for label in self.labels)
        if not first or not second or first == second:
            raise ValueError(f"layout.labels are {first!r} and {second!r}: two different names are needed")
        return self


class Constitution(Settings):
    """The principles, how they are put to a model, and examples."""

    constitution: Literal[1]
    """Version of the file's form."""
    name: str = ""
    layout: Layout
    principles: tuple[Principle, ...] = Field(min_length=1)
    examples: tuple[Example, ...] = ()

    @model_validator(mode="after")
    def _can_be_drawn(self) -> Constitution:
        """Names are unique, and at least one principle weighs something."""
        names = [principle.name for principle in self.principles]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice:
            raise ValueError(f"two principles are called {twice!r}")
        if not any(principle.weight for principle in self.principles):
            raise ValueError("every principle has weight 0: none can be drawn")
        return self

    def draw(self, seed: int) -> Principle:
        """A principle, drawn by weight; the same one for the same seed."""
        weights = np.array([principle.weight for principle in self.principles])
        return self.principles[int(np.random.default_rng(seed).choice(len(weights), p=weights / weights.sum()))]


def read_constitution(path: Path | None = None) -> Constitution:
    """The constitution of a file, or the one that comes with preflab.

    Raises:
        PreflabError: no such file, no YAML, an unknown or missing key, an empty principle; with file, key and number.
    """
    from preflab.yaml_files import read_yaml

    source = path or Path(str(files("preflab.constitution") / "default.yaml"))
    return checked(read_yaml(source), str(source))


def checked(raw: Any, source: str) -> Constitution:
    """A constitution from what YAML gave."""
    from pydantic import ValidationError

    try:
        return Constitution.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(_step(step) for step in first["loc"])
        problem = str(first["msg"]).removeprefix("Value error, ")
        raise PreflabError(
            f"{source}{', ' + place if place else ''}: {problem}",
            "principles with name, critique, revision and comparison, and a layout",
            "see docs/how-to/constitution.md, or begin with `preflab constitution show`",
        ) from error


def _step(step: str | int) -> str:
    """`principles.3` of the file's own counting, from 1."""
    return str(step + 1) if isinstance(step, int) else step


def filled(template: str, **parts: str) -> str:
    """Every mark replaced once: what a text contains in braces stays as it is."""
    return MARK.sub(lambda mark: parts[mark[1]], template)
