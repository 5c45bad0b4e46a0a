"""A small campaign for the tests of labelling: prompts, completions, labelers, and answers to give."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import text

from preflab.labelling.campaign_names import free_name
from preflab.labelling.campaigns import create_campaign
from preflab.labelling.members import let_in
from preflab.labelling.options import CampaignOptions
from preflab.labelling.shown_tasks import Turn
from preflab.labelling.submissions import Receipt, Submission, submit
from preflab.records import Answer, Campaign, Completion, Labeler, LabelerKind, Prompt, RankingAnswer, random_id
from preflab.store.database import engine_of_url, writing
from preflab.store.workspace import Workspace


def put_groups(ws: Workspace, num_tasks: int, num_completions: int = 3) -> list[list[str]]:
    """So many prompts with so many completions each; the completion ids, one list per prompt."""
    prompts = [Prompt.make(text=f"Question {n}?") for n in range(num_tasks)]
    groups = [
        [Completion.make(p.id, f"Answer {k}.", "secret-model", seed=7, index=k) for k in range(num_completions)]
        for p in prompts
    ]
    ws.put([*prompts, *(completion for group in groups for completion in group)])
    return [[completion.id for completion in group] for group in groups]


def make_campaign(
    ws: Workspace, num_tasks: int = 4, num_completions: int = 3, *, labelers: Sequence[str] = (), **options: Any
) -> Campaign:
    """A campaign of rankings; with labelers, for those alone."""
    groups = put_groups(ws, num_tasks, num_completions)
    values = {"name": free_name(ws, "kindness")} | ({"open_to": "named"} if labelers else {}) | options
    campaign = create_campaign(ws, CampaignOptions(**values), groups, "Read first.")
    let_in(ws, campaign.id, labelers)
    return campaign


def put_labelers(ws: Workspace, num: int, kind: LabelerKind = "person") -> list[str]:
    """So many labelers; their ids."""
    labelers = [Labeler(random_id("labeler"), f"labeler {n}", kind) for n in range(num)]
    ws.put(labelers)
    return [labeler.id for labeler in labelers]


def ranking(num_completions: int = 3) -> Answer:
    """The first one best, no ties."""
    return RankingAnswer(tuple(range(1, num_completions + 1)))


def send(ws: Workspace, turn: Turn, answer: Answer | None = None, **other: Any) -> Receipt:
    """Submit an answer to a turn."""
    values = {"key": random_id("key"), "based_on": turn.revision, "active_ms": 9000} | other
    answer = answer or ranking(len(turn.completions))
    return submit(ws, Submission(task_id=turn.task.id, labeler_id=turn.labeler_id, answer=answer, **values))


@contextmanager
def workspace_on(kind: str, path: Path, url: str | None) -> Iterator[Workspace]:
    """A new workspace on SQLite, or in a new database of the PostgreSQL server."""
    if kind == "postgresql":
        assert url is not None
        url = new_database(url)
    with Workspace.open(path / "w", create=True, url=url if kind == "postgresql" else None) as opened:
        yield opened


def new_database(url: str) -> str:
    """A new empty database on the server of a URL; its own URL."""
    name = random_id("db").replace("-", "_")
    engine = engine_of_url(url).execution_options(isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return f"{url.rpartition('/')[0]}/{name}"


def rows(ws: Workspace, statement: str, **values: Any) -> Sequence[Any]:
    """What a query finds."""
    with writing(ws.engine) as connection:
        return connection.execute(text(statement), values).all()
