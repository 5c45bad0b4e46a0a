"""Images to judge: files of the workspace's folder `images/`, each named by the hash of its bytes.

A completion that is an image has the file's name as its text. What a file is, its first bytes say, never its name;
SVG is not among the kinds, since it can hold scripts.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from pathlib import Path
from typing import IO

from preflab.errors import PreflabError
from preflab.files import check_regular, readable_disk_errors, write_files

FOLDER = "images"
IMAGE_NAME = re.compile(r"[0-9a-f]{64}\.(png|jpg|gif|webp)")
CONTENT_TYPES = {"png": "image/png", "jpg": "image/jpeg", "gif": "image/gif", "webp": "image/webp"}
MAX_IMAGE = 20 * 1024 * 1024
"""Bytes of one image."""
PIECE = 2**20
"""Bytes read at once where one is copied."""


def add_image(workspace: Path, file: Path) -> str:
    """Copy an image into the workspace and return its name there, `<SHA-256>.<kind>`; the same one twice is one file.

    Raises:
        PreflabError: no such file, too large, or not a PNG, JPEG, GIF or WebP by its first bytes.
    """
    check_regular(file)
    try:
        if file.stat().st_size > MAX_IMAGE:
            raise PreflabError(f"{file}: more than {MAX_IMAGE // 2**20} MB", "a smaller image")
        data = file.read_bytes()
    except OSError as error:
        raise PreflabError(f"{file}: {error.strerror}", "an image's file") from None
    kind = kind_of_image(data)
    if kind is None:
        raise PreflabError(f"{file}: not an image that can be shown", "PNG, JPEG, GIF or WebP", "convert it")
    name = f"{hashlib.sha256(data).hexdigest()}.{kind}"
    target = workspace / FOLDER / name
    if not target.is_file():
        write_files({target: data})
    return name


def image_named(workspace: Path, folder: Path, text: str) -> str:
    """The name in the workspace of an image that a file names by its path, relative to `folder`; it is copied there.

    The name of an image that the workspace has is left as it is.

    Raises:
        PreflabError: as `add_image`.
    """
    text = text.strip()
    if IMAGE_NAME.fullmatch(text) and (workspace / FOLDER / text).is_file():
        return text
    return add_image(workspace, folder / text)


def copy_images(source: Path, target: Path) -> int:
    """Copy the images of one folder into another, which keeps those it has; returns how many were copied.

    Raises:
        PreflabError: the disk is full, or a folder cannot be read or written.
    """
    names = sorted(path.name for path in source.glob("*") if IMAGE_NAME.fullmatch(path.name))
    missing = [name for name in names if not (target / name).is_file()]
    for name in missing:
        copy_image(source / name, target / name)
    return len(missing)


def copy_image(source: Path, target: Path) -> None:
    """Copy an image piece by piece, whole or not at all.

    Raises:
        PreflabError: it is a link or no plain file, its bytes are not those its name says, or the disk is full.
    """
    beside = target.with_name(f".{target.name}.{os.getpid()}.part")
    digest = hashlib.sha256()
    with readable_disk_errors(target):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with _opened_plain(source) as read, beside.open("wb") as written:
                while piece := read.read(PIECE):
                    digest.update(piece)
                    written.write(piece)
                written.flush()
                os.fsync(written.fileno())
            if not target.name.startswith(digest.hexdigest()):
                raise PreflabError(
                    f"{source}: its bytes are not those that its name says", "an image as it was stored",
                    "the file was damaged or changed: take it out, or bring it back from elsewhere",
                )  # fmt: skip
            os.replace(beside, target)
        finally:
            beside.unlink(missing_ok=True)


def _opened_plain(source: Path) -> IO[bytes]:
    """A plain file, open; a link is not followed, and a pipe is not waited for."""
    expected = "an image, a plain file"
    try:
        descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise PreflabError(f"{source}: {error.strerror}", expected) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise PreflabError(f"{source}: not a plain file", expected)
    return os.fdopen(descriptor, "rb")


def images_of_backup(file: Path) -> Path:
    """The folder beside a backup of the database that holds its images: `copy.db` has `copy.images`."""
    return file.with_name(f"{file.stem}.{FOLDER}")


def read_image(workspace: Path, name: str) -> tuple[bytes, str] | None:
    """Bytes and content type of an image of the workspace; None unless the bytes are what the name says."""
    if not IMAGE_NAME.fullmatch(name):
        return None
    try:
        data = (workspace / FOLDER / name).read_bytes()
    except OSError:
        return None
    digest, _, kind = name.partition(".")
    right = hashlib.sha256(data).hexdigest() == digest and kind_of_image(data) == kind
    return (data, CONTENT_TYPES[kind]) if right else None


def kind_of_image(data: bytes) -> str | None:
    """`png`, `jpg`, `gif` or `webp` by the first bytes; None for anything else."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if data.startswith(b"\xff\xd8\xff"):
        return "jpg"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    return None
