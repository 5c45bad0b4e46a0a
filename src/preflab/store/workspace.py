"""`Workspace`: a folder with one database of records, and `runs/` for the outputs of stages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from sqlalchemy import Engine

from preflab.errors import PreflabError
from preflab.files import keep_private
from preflab.records import Campaign, Completion, Evaluation, Judgment, Labeler, Preference, Prompt, Task
from preflab.store.database import engine_of_url, reading, sqlite_engine, switch_to_wal, writing
from preflab.store.migrate import backup, bring_up_to_date
from preflab.store.record_reading import count, latest_revisions, read_ids, read_where
from preflab.store.rows import BY_NAME, KINDS, Record
from preflab.store.writing import put_records

DATABASE = "preflab.db"
Ids = Sequence[str] | None


class Workspace:
    """The records of one project; open it with `Workspace.open`.

    Every read takes ids (records are returned in that order, and a missing one is an error) or conditions (records are
    returned sorted by id, so that equal states give equal files).

    Example:
        >>> import tempfile
        >>> with Workspace.open(tempfile.mkdtemp(), create=True) as workspace:
        ...     workspace.put([Prompt.make(text="Where is my parcel?")])["prompt"]
        1
    """

    def __init__(self, path: Path, engine: Engine) -> None:
        self.path = path
        self.runs = path / "runs"
        self.engine = engine

    @classmethod
    def open(cls, path: Path | str, *, create: bool = False, url: str | None = None) -> Workspace:
        """Open the workspace in a folder and migrate its tables to this version, after a backup of a SQLite file.

        Args:
            path: the folder.
            create: create the folder and the database if they are missing.
            url: a PostgreSQL database instead of the folder's SQLite file, e.g. `postgresql://user@host/name`.

        Raises:
            PreflabError: no workspace there, a file that is not a database, tables of a newer preflab, a full disk.
        """
        path = Path(path)
        file = path / DATABASE
        _check_folder(path, file, create=create, by_url=url is not None)
        if url is not None:
            engine = engine_of_url(url)
            bring_up_to_date(engine, None)
        else:
            keep_private(file)  # it holds names, addresses and password hashes
            switch_to_wal(file)
            engine = sqlite_engine(file)
            bring_up_to_date(engine, file)
        return cls(path, engine)

    def close(self) -> None:
        """Close the database connections."""
        self.engine.dispose()

    def __enter__(self) -> Workspace:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def put(self, records: Iterable[Record], on_done: Callable[[int], None] | None = None) -> dict[str, int]:
        """Store records of any kinds, in any order, in one transaction: all or none.

        Records that are stored already with the same content are left unchanged, so the call is idempotent.
        `on_done(n)` is called after every n records processed; nothing is committed before `put` returns.

        Returns:
            kind of record (`prompt`, `completion`, …) → number of new records.

        Raises:
            PreflabError: an id that is stored with other content, a missing parent, a duplicate revision, a full disk.
        """
        with writing(self.engine) as connection:
            return put_records(connection, records, on_done)

    def prompts(self, ids: Ids = None) -> list[Prompt]:
        """Prompts by id, or all."""
        return self._read("prompt", ids)

    def completions(self, ids: Ids = None, *, prompt_ids: Ids = None, model: str | None = None) -> list[Completion]:
        """Completions by id, or by prompt and by model."""
        return self._read("completion", ids, prompt_id=prompt_ids, model=model)

    def labelers(self, ids: Ids = None, *, kind: str | None = None) -> list[Labeler]:
        """Labelers by id, or by kind (`person`, `ai`, `simulated`)."""
        return self._read("labeler", ids, kind=kind)

    def campaigns(self, ids: Ids = None, *, name: str | None = None) -> list[Campaign]:
        """Campaigns by id, or by name."""
        return self._read("campaign", ids, name=name)

    def tasks(self, ids: Ids = None, *, campaign_id: str | None = None) -> list[Task]:
        """Tasks by id, or by campaign."""
        return self._read("task", ids, campaign_id=campaign_id)

    def judgments(
        self, ids: Ids = None, *, campaign_id: str | None = None, all_revisions: bool = False
    ) -> list[Judgment]:
        """Judgments by id, or by campaign: each labeler's latest revision per task unless `all_revisions`."""
        if ids is not None or all_revisions:
            return self._read("judgment", ids, campaign_id=campaign_id)
        with reading(self.engine) as connection:
            return read_ids(connection, BY_NAME["judgment"], latest_revisions(connection, campaign_id))

    def preferences(self, ids: Ids = None, *, prompt_ids: Ids = None, source: str | None = None) -> list[Preference]:
        """Preferences by id, or by prompt and by source."""
        return self._read("preference", ids, prompt_id=prompt_ids, source=source)

    def evaluations(self, ids: Ids = None, *, model: str | None = None) -> list[Evaluation]:
        """Evaluations by id, or by model."""
        return self._read("evaluation", ids, model=model)

    def counts(self) -> dict[str, int]:
        """Kind of record → number of records, including all revisions of judgments."""
        with reading(self.engine) as connection:
            return {kind.name: count(connection, kind.table) for kind in KINDS}

    def backup(self, target: Path | str) -> None:
        """Copy the SQLite database while it is in use; an export is not a backup.

        Raises:
            PreflabError: the workspace is on PostgreSQL (use pg_dump), or the copy cannot be written.
        """
        if self.engine.dialect.name != "sqlite":
            raise PreflabError("this workspace is on PostgreSQL", "a SQLite workspace", "use pg_dump")
        backup(self.path / DATABASE, Path(target))

    def _read(self, name: str, ids: Ids, /, **conditions: Any) -> list[Any]:
        with reading(self.engine) as connection:
            if ids is not None:
                return read_ids(connection, BY_NAME[name], ids)
            return read_where(connection, BY_NAME[name], conditions)


def _check_folder(path: Path, file: Path, *, create: bool, by_url: bool) -> None:
    """Create the folder, or without `create` check that the folder and its database exist."""
    if create:
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)  # an existing folder keeps its mode
            (path / "runs").mkdir(exist_ok=True)
        except OSError as error:
            raise PreflabError(f"{path}: {error.strerror}", "a folder that can be created and written to") from error
    elif not path.is_dir():
        raise PreflabError(f"{path}: there is no such folder", "a workspace", "make one with `preflab init`")
    elif not by_url and not file.is_file():
        raise PreflabError(f"{path}: no {DATABASE} in it", "a workspace", "make one with `preflab init`")
