"""Detects completions that are images, which people can judge but text models must not learn from.

An image in the workspace is a completion whose text is the name of its file. Models here read text alone and would
learn to write file names, so training, scoring and evaluation refuse such completions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from preflab.errors import PreflabError
from preflab.records import Campaign
from preflab.store.images import IMAGE_NAME
from preflab.words import count

FILE_OR_LINK = re.compile(
    r"data:image/[\w.+-]+[;,]\S*|\S+( \S+){0,3}\.(png|jpe?g|gif|webp|bmp|tiff?|svg|avif|heic)(\?\S*)?", re.IGNORECASE
)
"""A text that consists of the path or URL of an image, or of a data URL."""
LONGEST = 500
"""The most characters of a path or URL."""
EXPECTED = "completions that are texts: models here read and write text, and would learn to write file names"
DO = "train an image model elsewhere: `preflab export preferences FILE --format preferences` keeps labels about images"


def images_among(texts: Sequence[str]) -> list[int]:
    """Indices of the texts that are images.

    A workspace's name for an image (the hash of its bytes) always counts. Other paths and URLs of images count only if
    all texts are such, because a single text may legitimately be a file name.
    """
    stripped = [text.strip() for text in texts]
    named = [index for index, text in enumerate(stripped) if IMAGE_NAME.fullmatch(text)]
    if named or not stripped or not all(map(_is_file_or_link, stripped)):
        return named
    return list(range(len(stripped)))


def _is_file_or_link(text: str) -> bool:
    return (len(text) <= LONGEST or text[:5].lower() == "data:") and FILE_OR_LINK.fullmatch(text) is not None


def refuse_images(texts: Sequence[str], name: str) -> None:
    """Raise an error if any of the texts is an image.

    Args:
        texts: completions about to be learned from, scored or compared as texts.
        name: the data or stage that they come from, for the error.

    Raises:
        PreflabError: some texts are images; the error gives their number and the first one.
    """
    images = images_among(texts)
    if images:
        first = texts[images[0]].strip()
        shown = first if len(first) <= 40 else f"{first[:16]}…{first[-12:]}"
        raise PreflabError(
            f"{name}: {len(images):,} of {count(len(texts), 'completion')} are images (the first: {shown})",
            EXPECTED,
            DO,
        )


def refuse_image_campaign(campaign: Campaign) -> None:
    """Raise an error if the campaign is about images.

    Raises:
        PreflabError: its labelers judged images.
    """
    if campaign.content == "image":
        raise PreflabError(f"the judgments of campaign {campaign.name} are about images", EXPECTED, DO)
