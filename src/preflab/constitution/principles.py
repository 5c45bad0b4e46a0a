"""Read a constitution: a YAML file of principles, validated strictly."""

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


def _strip_non_empty(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty: write a sentence, or leave the principle out")
    return text.strip()


class Principle(Settings):
    """One principle."""

    name: str
    """A short, unique name."""
    critique: str
    """The request to criticise an answer."""
    revision: str
    """The request to write a better answer."""
    comparison: str
    """The question which of two answers is better."""
    weight: float = Field(1.0, ge=0)
    """Relative frequency with which it is drawn."""

    _not_empty = field_validator("name", "critique", "revision", "comparison")(_strip_non_empty)


class Example(Settings):
    """A worked example of critique and revision, shown to models that are too small to follow the form without one."""

    prompt: str
    answer: str
    critique: str
    revision: str

    _not_empty = field_validator("prompt", "answer", "critique", "revision")(_strip_non_empty)


class Layout(Settings):
    """The templates of requests to a model: for a critique, for a revision, and for a comparison of two answers."""

    critique: str
    revision: str
    comparison: str | None = None
    """For a judge read by likelihood: one of `labels` follows this text. None: preflab's own wording."""
    labels: tuple[str, str] = ("A", "B")
    """Names of the first and the second answer in `comparison`."""
    separator: str = "\n\n---\n\n"
    """Text between examples, and before the request."""

    @model_validator(mode="after")
    def _all_marks(self) -> Layout:
        """Refuse unknown marks and missing required marks."""
        texts = [("critique", self.critique, CRITIQUE_MARKS), ("revision", self.revision, REVISION_MARKS)]
        if self.comparison is not None:
            texts.append(("comparison", self.comparison, COMPARISON_MARKS))
        for name, text, marks in texts:
            used = set(MARK.findall(text))
            if wrong := sorted(used - marks):
                raise ValueError(f"layout.{name} has the mark {{{wrong[0]}}}; known: {', '.join(sorted(marks))}")
            needed = marks - {"critique_request", "revision_request"}
            if missing := sorted(needed - used):
                raise ValueError(f"layout.{name} lacks the mark {{{missing[0]}}}")
        return self

    @model_validator(mode="after")
    def _labels_are_two_names(self) -> Layout:
        """Refuse labels that are empty or equal, and labels without a comparison."""
        if self.comparison is None and "labels" in self.model_fields_set:
            raise ValueError("layout.labels is given without layout.comparison: nothing would use them")
        first, second = (label.strip() for label in self.labels)
        if not first or not second or first == second:
            raise ValueError(f"layout.labels are {first!r} and {second!r}: two different names are needed")
        return self


class Constitution(Settings):
    """A constitution: principles, the templates of requests, and examples."""

    constitution: Literal[1]
    """Version of the file format."""
    name: str = ""
    layout: Layout
    principles: tuple[Principle, ...] = Field(min_length=1)
    examples: tuple[Example, ...] = ()

    @model_validator(mode="after")
    def _can_be_drawn(self) -> Constitution:
        """Refuse duplicate names, and weights that are all 0."""
        names = [principle.name for principle in self.principles]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice:
            raise ValueError(f"two principles are called {twice!r}")
        if not any(principle.weight for principle in self.principles):
            raise ValueError("every principle has weight 0: none can be drawn")
        return self

    def draw(self, seed: int) -> Principle:
        """A principle drawn at random by weight; equal seeds draw the same one."""
        weights = np.array([principle.weight for principle in self.principles])
        return self.principles[int(np.random.default_rng(seed).choice(len(weights), p=weights / weights.sum()))]


def read_constitution(path: Path | None = None) -> Constitution:
    """Read the constitution of a file; None: the one included in preflab.

    Raises:
        PreflabError: the file is missing or not YAML, a key is unknown or missing, or a text is empty; it names file,
            key and position.
    """
    from preflab.yaml_files import read_yaml

    source = path or Path(str(files("preflab.constitution") / "default.yaml"))
    return validate_constitution(read_yaml(source), str(source))


def validate_constitution(raw: Any, source: str) -> Constitution:
    """A constitution from parsed YAML; `source` names the file in errors."""
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
            "see docs/how-to/constitution.md, or start from `preflab constitution show`",
        ) from error


def _step(step: str | int) -> str:
    """A step of an error's location, with list positions counted from 1."""
    return str(step + 1) if isinstance(step, int) else step


def filled(template: str, **parts: str) -> str:
    """The template with its marks replaced; braces within the inserted texts are left alone."""
    return MARK.sub(lambda mark: parts[mark[1]], template)
