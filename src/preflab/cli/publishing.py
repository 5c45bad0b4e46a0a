"""What goes with an exported model: its card, and the way to the Hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from preflab.errors import PreflabError

if TYPE_CHECKING:
    from preflab.models.hub import HubTarget

HubOption = Annotated[
    str | None,
    typer.Option("--to-hub", metavar="OWNER/NAME", help="Push the folder to this model repository of the Hub, too."),
]
PrivateOption = Annotated[bool, typer.Option("--private", help="With --to-hub: the repository is private.")]
CARD = "README.md"


def checked_target(to_hub: str | None, private: bool) -> HubTarget | None:
    """The repository to push to, all that can be refused being refused; None where nothing is pushed."""
    if to_hub is None:
        if private:
            raise PreflabError("--private without --to-hub", "a repository to push to", "add --to-hub OWNER/NAME")
        return None
    from preflab.models.hub import hub_target

    return hub_target(to_hub, private=private)


def card_text(place: Path, folder: Path, opener: str, base: str | None, hub_id: str | None) -> str:
    """The model card, from the run of the stage that made the model; of another folder the little that is known.

    Args:
        place: of the model.
        folder: where it was exported to.
        opener: the class of transformers that opens that.
        base: of an adapter, as it was named.
        hub_id: where it goes on the Hub; None: nowhere.
    """
    from preflab.files import read_json
    from preflab.report.card import Use, model_card, plain_card
    from preflab.report.lineage import lineage_of

    lineage = lineage_of(place)
    if (place / "adapter_config.json").is_file():
        base = base or read_json(place / "adapter_config.json").get("base_model_name_or_path")
    name, code = hub_id or folder.resolve().name, any(folder.glob("*.py"))
    use = Use(opener, name, brings_code=code, chats=_has_template(folder))
    return plain_card(use, base) if lineage is None else model_card(lineage, use)


def _has_template(folder: Path) -> bool:
    """Whether a folder holds a chat template; one without a tokenizer does not."""
    from preflab.files import read_json

    config = folder / "tokenizer_config.json"
    within = read_json(config).get("chat_template") if config.is_file() else None
    return bool(within) or (folder / "chat_template.jinja").is_file()


def write_card(folder: Path, text: str) -> None:
    """Puts the card into an exported folder; one that came with a model nobody trained here stays."""
    from preflab.files import write_text

    if not (folder / CARD).exists():
        write_text(folder / CARD, text)


def pushed(folder: Path, target: HubTarget, name: str) -> str:
    """Pushes the folder; the address of the commit."""
    from preflab.models.hub import push

    return push(folder, target, f"Add {name}, exported by preflab")
