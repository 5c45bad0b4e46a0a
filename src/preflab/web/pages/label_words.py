"""Texts of the labelling pages: the labeler's progress, why there is no task, the list of own answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from preflab.labelling.assignment import Waiting
from preflab.labelling.submissions import Done, OwnProgress
from preflab.records import Prompt, Task
from preflab.web.rendering import EMPTY, shows_nothing, visible
from preflab.words import amount, count, whole_percent

BEGINNING = 160
"""Characters of a prompt that the list of own answers shows."""
ENOUGH_FOR_TIES = 5
"""Smallest number of tasks after which the share of ties is considered."""


def progress_words(own: OwnProgress, num_tasks: int) -> tuple[str, ...]:
    """The labeler's progress in short phrases: `You have judged 12 of 40`, `about 38 s each`, `21 % ties`."""
    if not own.num_done:
        return ()
    sentences = [f"You have judged {own.num_done} of {max(num_tasks, own.num_done)}"]
    if own.median_seconds:
        sentences.append(f"about {duration(own.median_seconds)} each")
    if own.tie_rate is not None:
        sentences.append(f"{whole_percent(own.tie_rate)} ties")
    if own.num_skipped:
        sentences.append(f"{own.num_skipped} skipped")
    return tuple(sentences)


def duration(seconds: float) -> str:
    """A duration as text: `38 s`, `2 min 5 s`."""
    whole = max(1, round(seconds))
    return f"{whole} s" if whole < 90 else f"{whole // 60} min {whole % 60} s"


def tie_nudge(own: OwnProgress, most: float) -> str:
    """A reminder if the labeler's share of ties is above `most`; "" otherwise."""
    if own.tie_rate is None or own.num_done < ENOUGH_FOR_TIES or own.tie_rate <= most:
        return ""
    share = whole_percent(own.tie_rate)
    return (
        f"You have called {share} of the pairs a tie. Ties are welcome where you see no difference; "
        "where you lean one way, say so."
    )


@dataclass(frozen=True)
class NoTask:
    """The text that tells a labeler why there is no task."""

    title: str
    text: str
    look_again: bool = True


def no_task(waiting: Waiting, lease_minutes: float) -> NoTask:
    """The text for a labeler without a task: what they wait for, or thanks and what to do next."""
    left = "The last task is" if waiting.num_left == 1 else f"The last {count(waiting.num_left, 'task')} are"
    minutes = amount(lease_minutes, "minute", digits=3)
    held = f"{left} reserved for other people. What they do not finish within {minutes} becomes free; look again then."
    words = {
        "all_done": NoTask("That was the last one. Thank you!", "Every task has all the labels it needs. There is "
                           "nothing more to do here; you can still look at your answers and change them.", False),
        "you_did_all": NoTask("You have done all of yours. Thank you!", "Each task is given to you once, and you have "
                              "seen them all. Other labelers are still at work; you can look at your answers and "
                              "change them.", False),
        "all_held": NoTask("No task is free just now", held),
        "paused": NoTask("This campaign is paused", "The lead has paused it. Your answers are kept; look again "
                         "later."),
        "closed": NoTask("This campaign is closed. Thank you!", "The lead has closed it. Your answers are kept.",
                         False),
    }  # fmt: skip
    return words[waiting.reason]


@dataclass(frozen=True)
class DoneRow:
    """One row of the list of own answers."""

    task_id: str
    prompt: str
    facts: str
    skipped: bool


def done_rows(rows: Sequence[Done], tasks: Sequence[Task], prompts: Sequence[Prompt]) -> list[DoneRow]:
    """The rows of the list of own answers, with the beginnings of the prompts."""
    prompt_of = {task.id: task.prompt_id for task in tasks}
    text_of = {prompt.id: prompt.messages[-1].content if prompt.messages else prompt.text for prompt in prompts}
    return [
        DoneRow(row.task_id, _beginning(text_of[prompt_of[row.task_id]]), _facts(row), row.state == "skipped")
        for row in rows
    ]


def _beginning(text: str) -> str:
    line = " ".join(visible(text.strip()[: 2 * BEGINNING]).split())
    if shows_nothing(line):
        return EMPTY
    return line if len(line) <= BEGINNING else f"{line[:BEGINNING].rstrip()} …"


def _facts(row: Done) -> str:
    when = f"{row.at[:10]} {row.at[11:16]} UTC"
    if row.state == "skipped":
        return f"skipped {when}: {row.skip_reason}"
    parts = [f"submitted {when}", duration(row.active_ms / 1000) if row.active_ms else ""]
    parts += [
        f"revision {row.revision}" if row.revision > 1 else "",
        "surplus: kept, but not counted" if row.surplus else "",
    ]
    return " · ".join(part for part in parts if part)
