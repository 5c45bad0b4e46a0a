"""Write the model card of an exported model and push the folder to the Hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from preflab.errors import PreflabError

if TYPE_CHECKING:
    from preflab.models.push_to_hub import HubTarget
    from preflab.report.card_dial import Dialled

HubOption = Annotated[
    str | None,
    typer.Option("--to-hub", metavar="OWNER/NAME", help="Also push the folder to this model repository on the Hub."),
]
PrivateOption = Annotated[bool, typer.Option("--private", help="With --to-hub: make the repository private.")]
CARD = "README.md"


def check_target(to_hub: str | None, private: bool) -> HubTarget | None:
    """The repository to push to, checked before anything is written; None if nothing is to be pushed."""
    if to_hub is None:
        if private:
            raise PreflabError("--private without --to-hub", "a repository to push to", "add --to-hub OWNER/NAME")
        return None
    from preflab.models.push_to_hub import hub_target

    return hub_target(to_hub, private=private)


def card_text(
    place: Path, folder: Path, opener: str, base: str | None, hub_id: str | None, dialled: Dialled | None = None
) -> str:
    """The model card, written from the run of the stage that made the model; a short card for any other folder.

    Args:
        place: folder of the original model.
        folder: folder of the exported model.
        opener: name of the transformers class that opens the exported model.
        base: base model of an adapter, as given with --base.
        hub_id: repository on the Hub; None if nothing is pushed.
        dialled: the setting of the dial that the folder holds; None: the original model.
    """
    from preflab.files import read_json
    from preflab.report.card import Use, model_card, plain_card
    from preflab.report.lineage import lineage_of

    lineage = lineage_of(place)
    if (place / "adapter_config.json").is_file():
        base = base or read_json(place / "adapter_config.json").get("base_model_name_or_path")
    name, code = hub_id or folder.resolve().name, any(folder.glob("*.py"))
    use = Use(opener, name, brings_code=code, chats=_has_template(folder))
    return plain_card(use, base) if lineage is None else model_card(lineage, use, dialled)


def _has_template(folder: Path) -> bool:
    """Whether a folder holds a chat template, in `tokenizer_config.json` or as a file."""
    from preflab.files import read_json

    config = folder / "tokenizer_config.json"
    within = read_json(config).get("chat_template") if config.is_file() else None
    return bool(within) or (folder / "chat_template.jinja").is_file()


def write_card(folder: Path, text: str) -> None:
    """Write the card into an exported folder; a card that was copied with the model is kept."""
    from preflab.files import write_text

    if not (folder / CARD).exists():
        write_text(folder / CARD, text)


def push_folder(folder: Path, target: HubTarget, name: str) -> str:
    """Push the folder; returns the address of the commit."""
    from preflab.models.push_to_hub import push

    return push(folder, target, f"Add {name}, exported by preflab")
