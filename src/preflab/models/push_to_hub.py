"""A model's folder pushed to the Hugging Face Hub: only when asked, with a token, into a repository that is empty."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preflab.errors import PreflabError
from preflab.words import count

MAY_BE_THERE = {".gitattributes", "README.md", "LICENSE", "LICENSE.txt", "LICENSE.md"}
"""Files of a repository that count as none: README.md is replaced, the others stay."""


@dataclass(frozen=True)
class HubTarget:
    """A repository that may be pushed to, looked at before anything was written."""

    repo_id: str
    private: bool
    api: Any
    """A `huggingface_hub.HfApi`."""


def hub_target(repo_id: str, *, private: bool) -> HubTarget:
    """The repository, after all that can be refused is refused.

    Raises:
        PreflabError: no `owner/name`, no network allowed, no token or one that the Hub does not know, a repository with
            a model in it, or a public one that was to be private.
    """
    from huggingface_hub import HfApi, constants, get_token
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise PreflabError(f"--to-hub {repo_id}: {error}", "OWNER/NAME", "mend the name") from error
    if repo_id.count("/") != 1:
        raise PreflabError(f"--to-hub {repo_id}", "OWNER/NAME", "add the user or organisation it belongs to")
    if constants.HF_HUB_OFFLINE:
        raise PreflabError(
            "HF_HUB_OFFLINE is set: the Hub may not be asked", "a network", "unset it, or export without --to-hub"
        )
    token = get_token()
    if not token:
        raise PreflabError(
            "no token for the Hub",
            "HF_TOKEN in the environment, or the token that `hf auth login` keeps",
            "make one with the right to write at https://huggingface.co/settings/tokens",
        )
    api = HfApi(token=token)
    with _said(f"{repo_id}: the Hub cannot be asked", "HF_TOKEN that may write there, and a network"):
        api.whoami()
        _refuse_other(api, repo_id, private)
    return HubTarget(repo_id, private, api)


def push(folder: Path, target: HubTarget, message: str) -> str:
    """Make the repository where it is missing and push the folder in one commit; returns the commit's address.

    Raises:
        PreflabError: the Hub refuses, or the network fails; the folder stays.
    """
    again = f"the model is in {folder}; push it with `hf upload {target.repo_id} {folder}`"
    with _said(f"{target.repo_id}: the push failed", "a repository that takes it", again):
        target.api.create_repo(target.repo_id, private=target.private, exist_ok=True)
        done = target.api.upload_folder(repo_id=target.repo_id, folder_path=str(folder), commit_message=message)
    return str(done.commit_url)


def _refuse_other(api: Any, repo_id: str, private: bool) -> None:
    """A repository with a model in it would hold files of both afterwards."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        info = api.model_info(repo_id)
    except RepositoryNotFoundError:
        return
    files = sorted(each.rfilename for each in info.siblings or [] if each.rfilename not in MAY_BE_THERE)
    if files:
        raise PreflabError(
            f"{repo_id} has {count(len(files), 'file')} already (the first: {files[0]})",
            "a new or empty repository",
            f"name another, or export without --to-hub and push with `hf upload {repo_id} FOLDER`",
        )
    if private and not info.private:
        raise PreflabError(
            f"{repo_id} is public", "a private repository", "make it private on the Hub, or name another"
        )


@contextmanager
def _said(what: str, expected: str, do: str = "") -> Iterator[None]:
    """What the Hub's client raises, as an error that says what to do."""
    from huggingface_hub import errors

    failures = (errors.HfHubHTTPError, getattr(errors, "HTTPError", OSError), OSError, RuntimeError)
    try:
        yield
    except failures as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise PreflabError(
            f"{what} ({lines[0]})", expected, do or "set HF_TOKEN, or export without --to-hub"
        ) from error
