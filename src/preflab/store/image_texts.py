"""Completions that are images: they are judged like any other, and nothing that reads text learns from them.

An image of the workspace is a completion whose text is the name of its file. A model here reads text alone, so it would
learn to write file names: whatever trains, scores or evaluates refuses such completions.
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
"""A text that is the path or address of an image, or an image written as text, and nothing else."""
LONGEST = 500
"""Characters of a path or address."""
EXPECTED = "completions that are texts: models here read and write text, and would learn the names of files"
DO = "train an image model elsewhere: `preflab export preferences FILE --format preferences` keeps labels about images"


def images_among(texts: Sequence[str]) -> list[int]:
    """Indices of the texts that are images.

    The name that the workspace gives an image, which is the hash of its bytes, is one wherever it stands. Other paths
    and addresses of images count where every text is one, since a single text may well be a file's name.
    """
    stripped = [text.strip() for text in texts]
    named = [index for index, text in enumerate(stripped) if IMAGE_NAME.fullmatch(text)]
    if named or not stripped or not all(map(_file_or_link, stripped)):
        return named
    return list(range(len(stripped)))


def _file_or_link(text: str) -> bool:
    return (len(text) <= LONGEST or text[:5].lower() == "data:") and FILE_OR_LINK.fullmatch(text) is not None


def refuse_images(texts: Sequence[str], name: str) -> None:
    """Nothing, where no text is an image.

    Args:
        texts: completions that something is about to learn from, to score or to compare as texts.
        name: the data or stage they come from, for the error.

    Raises:
        PreflabError: how many are images, and the first.
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
    """Nothing, where the campaign is about texts.

    Raises:
        PreflabError: its labelers judged images.
    """
    if campaign.content == "image":
        raise PreflabError(f"the judgments of campaign {campaign.name} are about images", EXPECTED, DO)
