"""Pushes a model's folder to the Hugging Face Hub: only on request, with a token, and into an empty repository."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preflab.errors import PreflabError
from preflab.words import count

MAY_BE_THERE = {".gitattributes", "README.md", "LICENSE", "LICENSE.txt", "LICENSE.md"}
"""Files that a repository may contain and still count as empty: README.md is replaced, the others stay."""


@dataclass(frozen=True)
class HubTarget:
    """A repository that was checked, before anything was written, and may be pushed to."""

    repo_id: str
    private: bool
    api: Any
    """A `huggingface_hub.HfApi`."""


def hub_target(repo_id: str, *, private: bool) -> HubTarget:
    """Check a repository and return it as a target to push to.

    Raises:
        PreflabError: the id is not `owner/name`, offline mode is set, the token is missing or invalid, the repository
            is not empty, or it is public although a private one was requested.
    """
    from huggingface_hub import HfApi, constants, get_token
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise PreflabError(f"--to-hub {repo_id}: {error}", "OWNER/NAME", "correct the name after --to-hub") from error
    if repo_id.count("/") != 1:
        raise PreflabError(f"--to-hub {repo_id}: no owner", "OWNER/NAME", "add the user or organisation that owns it")
    if constants.HF_HUB_OFFLINE:
        raise PreflabError(
            "HF_HUB_OFFLINE is set, so nothing can be pushed", "it unset", "unset it, or export without --to-hub"
        )
    token = get_token()
    if not token:
        raise PreflabError(
            "there is no token for the Hub",
            "HF_TOKEN in the environment, or a token stored by `hf auth login`",
            "create one with write permission at https://huggingface.co/settings/tokens",
        )
    api = HfApi(token=token)
    with _hub_errors(f"{repo_id}: the Hub cannot be reached", "HF_TOKEN with write permission, and a network"):
        api.whoami()
        _refuse_other(api, repo_id, private)
    return HubTarget(repo_id, private, api)


def push(folder: Path, target: HubTarget, message: str) -> str:
    """Create the repository if it does not exist, push the folder in one commit, and return the commit's URL.

    Raises:
        PreflabError: the Hub refuses, or the network fails. The local folder stays.
    """
    again = f"the model is in {folder}; push it with `hf upload {target.repo_id} {folder}`"
    with _hub_errors(f"{target.repo_id}: the push failed", "a repository that accepts it", again):
        target.api.create_repo(target.repo_id, private=target.private, exist_ok=True)
        done = target.api.upload_folder(repo_id=target.repo_id, folder_path=str(folder), commit_message=message)
    return str(done.commit_url)


def _refuse_other(api: Any, repo_id: str, private: bool) -> None:
    """Refuse a repository that has files, which would be mixed with the new model's, or that is public by mistake.

    Raises:
        PreflabError: it contains other files than `MAY_BE_THERE`, or it is public although `private` is set.
    """
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        info = api.model_info(repo_id)
    except RepositoryNotFoundError:
        return
    files = sorted(each.rfilename for each in info.siblings or [] if each.rfilename not in MAY_BE_THERE)
    if files:
        raise PreflabError(
            f"{repo_id} already has {count(len(files), 'file')} (first: {files[0]})",
            "a new or empty repository",
            f"choose another one, or export without --to-hub and push with `hf upload {repo_id} FOLDER`",
        )
    if private and not info.private:
        raise PreflabError(
            f"{repo_id} is public", "a private repository", "make it private on the Hub, or choose another one"
        )


@contextmanager
def _hub_errors(what: str, expected: str, do: str = "") -> Iterator[None]:
    """Turn errors of the Hub's client into a PreflabError that says what to do."""
    from huggingface_hub import errors

    failures = (errors.HfHubHTTPError, getattr(errors, "HTTPError", OSError), OSError, RuntimeError)
    try:
        yield
    except failures as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise PreflabError(
            f"{what} ({lines[0]})", expected, do or "set HF_TOKEN, or export without --to-hub"
        ) from error
