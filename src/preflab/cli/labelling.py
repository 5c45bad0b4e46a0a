"""`label`, `backup` and `restore`: serve the labelling app; copy its database and put a copy back."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from preflab.cli.speaking import (
    DEFAULT_RECIPE,
    JsonOption,
    RecipeOption,
    SetOption,
    Speaker,
    WorkspaceOption,
    shown_path,
    speaking,
)
from preflab.words import count

if TYPE_CHECKING:
    from preflab.store.workspace import Workspace
    from preflab.web.settings import WebSettings

HostOption = Annotated[
    str, typer.Option("--host", help="Address to listen on; any but this machine needs a lead with a password first.")
]
PortOption = Annotated[int, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0 takes a free one.")]
UrlOption = Annotated[
    str, typer.Option("--public-url", help="Address people open, if it is not http://HOST:PORT (behind a proxy).")
]
OriginOption = Annotated[
    list[str] | None,
    typer.Option("--trusted-origin", help="Another origin whose pages may send changes. May be repeated."),
]
HttpsOption = Annotated[
    bool, typer.Option("--https", help="People open it by HTTPS: cookies are sent over HTTPS only.")
]


def add_to(app: typer.Typer) -> None:
    """Register the commands of this file."""
    app.command("label", help=label.__doc__, short_help="Serve the labelling app.")(label)
    app.command("backup", help=backup.__doc__, short_help="Copy the database while it is in use.")(backup)
    app.command("restore", help=restore.__doc__, short_help="Put a backup in the database's place.")(restore)


def workspace_folder_of(recipe: Path, overrides: list[str], workspace: Path | None) -> Path:
    """The workspace's folder: the one named, else the recipe's if the recipe exists, else the current folder."""
    if workspace is not None or not recipe.exists():
        return (workspace or Path.cwd()).absolute()
    from preflab.pipeline import workspace_folder
    from preflab.recipe import load_recipe

    return workspace_folder(load_recipe(recipe, overrides))


def label(
    host: HostOption = "127.0.0.1",
    port: PortOption = 8400,
    public_url: UrlOption = "",
    trusted_origin: OriginOption = None,
    https: HttpsOption = False,
    recipe: RecipeOption = DEFAULT_RECIPE,
    set_: SetOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Serve the labelling app until interrupted; the first start prints a link that makes you the lead.

    It listens on this machine only, unless --host says otherwise. With --json the address is printed as one JSON line
    as soon as it listens.
    """
    from preflab.labelling.address import serve_alone
    from preflab.store.opening import is_shared, opened
    from preflab.web.serve import serve
    from preflab.web.settings import WebSettings

    settings = WebSettings(host, port, tuple(trusted_origin or ()), https, public_url)
    speaker = Speaker(as_json)
    with (
        opened(workspace_folder_of(recipe, set_ or [], workspace), create=True) as store,
        serve_alone(store.path, shared=is_shared()),
        contextlib.suppress(KeyboardInterrupt),  # the usual way to stop it; open requests have been answered by then
    ):
        serve(store, settings, on_ready=lambda ready: announce(speaker, store, ready, port))
    speaker.say("stopped; every acknowledged submission is stored")


def announce(speaker: Speaker, store: Workspace, settings: WebSettings, port: int) -> None:
    """Print the app's address, and the first lead's link if there is no lead; `port` as asked for, 0 for any."""
    from preflab.labelling.address import write_address
    from preflab.store.opening import is_shared
    from preflab.web.serve import first_link

    link = first_link(store, settings)
    write_address(store.path, settings.url, stays=port != 0 or bool(settings.public_url) or is_shared())
    if speaker.as_json:
        print(json.dumps({"url": settings.url, "lead_link": link}), file=speaker.stdout, flush=True)
        return
    speaker.say(f"labelling app: {settings.url}")
    if link:
        speaker.say(f"you are the first: open {link} and choose a name and a password (works once, for 24 hours)")
    else:
        speaker.say(f"leads: {settings.url}/lead")
    speaker.say("stop it with Ctrl-C")
    speaker.stdout.flush()


@contextlib.contextmanager
def serve_meanwhile(folder: Path, port: int) -> Iterator[None]:
    """Serve the app on this machine while the block runs, for a command that waits for people; prints to stderr."""
    import threading

    from preflab.labelling.address import serve_alone
    from preflab.store.opening import is_shared, opened
    from preflab.web.serve import listening
    from preflab.web.settings import WebSettings

    with (
        opened(folder, create=True) as store,
        serve_alone(store.path, shared=is_shared()),
        listening(store, WebSettings(port=port)) as (server, listener, settings),
    ):
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        with contextlib.redirect_stdout(sys.stderr):
            announce(Speaker(False), store, settings, port)
        try:
            yield
        finally:
            server.should_exit = True
            thread.join(timeout=10)


def backup(
    file: Annotated[
        Path | None, typer.Argument(help="File to write.", show_default="backups/preflab-<date>.db in the workspace")
    ] = None,
    recipe: RecipeOption = DEFAULT_RECIPE,
    set_: SetOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy the workspace's database while it is in use: campaigns, accounts, judgments, everything.

    Images to judge go into a folder beside the copy: copy.db has copy.images. An export is not a backup: it leaves out
    accounts, drafts and the audit log.
    """
    from preflab.errors import PreflabError
    from preflab.store.images import FOLDER, copy_images, images_of_backup
    from preflab.store.opening import opened

    with speaking(as_json) as speaker:
        with opened(workspace_folder_of(recipe, set_ or [], workspace)) as store:
            target = file or store.path / "backups" / f"preflab-{_stamp()}.db"
            if target.exists():
                raise PreflabError(f"{target} exists already", "a new file", "name another one")
            target.parent.mkdir(parents=True, exist_ok=True)
            store.backup(target)
            target.chmod(0o600)  # it holds names and password hashes
            images = images_of_backup(target)
            num_images = copy_images(store.path / FOLDER, images)
            counts = store.counts()
        speaker.say(f"{_describe_counts(counts)}, {count(target.stat().st_size, 'byte')}")
        if num_images:
            speaker.say(f"{count(num_images, 'image')} beside it, in {shown_path(images)}")
        speaker.last(
            target, f"keep a copy elsewhere; `preflab restore {shown_path(target)}` restores it", counts=counts,
            images=str(images) if num_images else None,
        )  # fmt: skip


def restore(
    file: Annotated[Path, typer.Argument(help="A file that `preflab backup` wrote.")],
    recipe: RecipeOption = DEFAULT_RECIPE,
    set_: SetOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Replace the workspace's database by a backup; the former database is kept beside it.

    Images beside the backup are restored too. Nobody may use the workspace meanwhile: stop `preflab label` first.
    """
    from preflab.labelling.address import refuse_served, serve_alone
    from preflab.labelling.row_checks import wrong_row
    from preflab.pipeline.runs import locked
    from preflab.store.opening import is_there, opened
    from preflab.store.restore import check_first
    from preflab.store.restore import restore as put_back

    with speaking(as_json) as speaker:
        folder = workspace_folder_of(recipe, set_ or [], workspace)
        if not is_there(folder):
            check_first(file, wrong_row)  # a refused backup must not create a workspace
        refuse_served(folder)
        with locked(folder / "runs"), serve_alone(folder):
            former, num_images = put_back(file, folder, wrong_row)
        with opened(folder) as store:
            counts = store.counts()
        speaker.say(f"restored: {_describe_counts(counts)}")
        if num_images:
            speaker.say(f"restored: {count(num_images, 'image')}")
        if former:
            speaker.say(f"former database: {shown_path(former)}")
        speaker.last(folder, "`preflab campaign list`", counts=counts, former=str(former) if former else None)


def _describe_counts(counts: Mapping[str, int]) -> str:
    return f"{count(counts['judgment'], 'judgment')} of {count(counts['campaign'], 'campaign')}"


def _stamp() -> str:
    import datetime

    return datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
