"""Which lessons were run and answered: the file `done.json` of the work folder."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from preflab.errors import PreflabError
from preflab.files import read_json, write_json


@dataclass(frozen=True)
class Progress:
    """A reader's progress in one lesson."""

    run: bool = False
    prediction: str = ""
    """The reader's prediction before the last run; "" if there was none."""
    answered: bool = False
    """True once an answer to the exercise was right."""

    @property
    def is_done(self) -> bool:
        """True if the lesson was run and its exercise answered."""
        return self.run and self.answered


def read_done(folder: Path) -> dict[int, Progress]:
    """Number of a lesson → what was done of it; lessons of which nothing was done are missing.

    Raises:
        PreflabError: the file is not as this module writes it.
    """
    path = folder / "done.json"
    if not path.exists():
        return {}
    content = read_json(path)
    try:
        return {int(number): Progress(**entry) for number, entry in content.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise PreflabError(
            f"{path}: {error}",
            'an object such as {"1": {"run": true, "prediction": "", "answered": false}}',
            "correct the file, or remove it to start the lessons again",
        ) from error


def note_done(folder: Path, number: int, **changes: Any) -> Progress:
    """Change the fields of one lesson in the file; returns what is done of it now."""
    done = read_done(folder)
    done[number] = replace(done.get(number, Progress()), **changes)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "done.json", {str(key): asdict(done[key]) for key in sorted(done)})
    return done[number]
