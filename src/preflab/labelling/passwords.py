"""Passwords as argon2id hashes (RFC 9106), compared with the same work whether or not the name is known."""

from __future__ import annotations

from functools import cache
from threading import BoundedSemaphore

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError

from preflab.labelling.errors import Invalid
from preflab.words import count

PASSWORD_LENGTH = 10
"""Characters a password has at least."""
MAX_LENGTH = 1000
HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
"""OWASP's Password Storage Cheat Sheet: 19 MiB, two passes, one lane."""
AT_ONCE = BoundedSemaphore(4)
"""So many are computed at a time, whoever knocks: memory is bounded."""


def hashed(password: str) -> str:
    """The hash to store.

    Raises:
        Invalid: too short, or absurdly long.
    """
    if not PASSWORD_LENGTH <= len(password) <= MAX_LENGTH:
        length = f"a password of {count(len(password), 'character')}"
        raise Invalid(length, f"{PASSWORD_LENGTH} to {MAX_LENGTH} characters")
    with AT_ONCE:
        return HASHER.hash(password)


def fits(password: str, stored: str | None) -> bool:
    """Whether the password is the one of the hash; without a hash the same work is done in vain."""
    nobody = _nobody()  # made before anything depends on the name: the first unknown one must not take longer
    known = stored or nobody
    try:
        with AT_ONCE:
            return HASHER.verify(known, password[:MAX_LENGTH]) and stored is not None
    except (VerifyMismatchError, InvalidHashError):
        return False


@cache
def _nobody() -> str:
    """The hash of no one's password."""
    return HASHER.hash("nobody has this password")
