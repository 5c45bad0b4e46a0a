"""Stores images to judge in the workspace's folder `images/`, each under the hash of its bytes.

The text of a completion that is an image is the file's name. The type of a file is determined by its first bytes, never
by its name. SVG is not accepted, because it can contain scripts.
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
"""The most bytes of one image."""
PIECE = 2**20
"""Bytes read at once when an image is copied."""


def add_image(workspace: Path, file: Path) -> str:
    """Copy an image into the workspace and return its name there, `<SHA-256>.<kind>`; equal images share one file.

    Raises:
        PreflabError: the file is missing, too large, or not a PNG, JPEG, GIF or WebP by its first bytes.
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
    """Copy the image at the path `text`, relative to `folder`, into the workspace and return its name there.

    If `text` is the name of an image that the workspace already has, it is returned unchanged.

    Raises:
        PreflabError: as for `add_image`.
    """
    text = text.strip()
    if IMAGE_NAME.fullmatch(text) and (workspace / FOLDER / text).is_file():
        return text
    return add_image(workspace, folder / text)


def copy_images(source: Path, target: Path) -> int:
    """Copy the images of one folder into another, except those already there; returns the number copied.

    Raises:
        PreflabError: the disk is full, or a folder cannot be read or written.
    """
    names = sorted(path.name for path in source.glob("*") if IMAGE_NAME.fullmatch(path.name))
    missing = [name for name in names if not (target / name).is_file()]
    for name in missing:
        copy_image(source / name, target / name)
    return len(missing)


def copy_image(source: Path, target: Path) -> None:
    """Copy an image through a temporary file, so that the target is whole or missing.

    Raises:
        PreflabError: the source is a link or not a regular file, its bytes do not match the hash in the target's name,
            or the disk is full.
    """
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    digest = hashlib.sha256()
    with readable_disk_errors(target):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with _open_regular(source) as read, temporary.open("wb") as written:
                while piece := read.read(PIECE):
                    digest.update(piece)
                    written.write(piece)
                written.flush()
                os.fsync(written.fileno())
            if not target.name.startswith(digest.hexdigest()):
                raise PreflabError(
                    f"{source}: its bytes do not match the hash in its name", "an image as it was stored",
                    "the file was damaged or changed: remove it, or restore it from another copy",
                )  # fmt: skip
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)


def _open_regular(source: Path) -> IO[bytes]:
    """Open a regular file for reading, without following a link or blocking on a pipe."""
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
    """The folder beside a database backup that holds its images: `copy.images` for `copy.db`."""
    return file.with_name(f"{file.stem}.{FOLDER}")


def read_image(workspace: Path, name: str) -> tuple[bytes, str] | None:
    """Bytes and content type of an image of the workspace; None if it is missing or does not match its name."""
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
