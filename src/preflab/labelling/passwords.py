"""Password hashes with argon2id (RFC 9106). A check takes the same time whether or not the name is known."""

from __future__ import annotations

from functools import cache
from threading import BoundedSemaphore

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError

from preflab.labelling.errors import Invalid
from preflab.words import count

PASSWORD_LENGTH = 10
"""Smallest number of characters of a password."""
MAX_LENGTH = 1000
HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
"""OWASP's Password Storage Cheat Sheet: 19 MiB, two passes, one lane."""
AT_ONCE = BoundedSemaphore(4)
"""Limits the hashes computed at the same time, and with them the memory, however many requests come in."""


def hash_password(password: str) -> str:
    """The hash of a new password, for storage.

    Raises:
        Invalid: the password is too short or too long.
    """
    if not PASSWORD_LENGTH <= len(password) <= MAX_LENGTH:
        length = f"a password of {count(len(password), 'character')}"
        raise Invalid(length, f"{PASSWORD_LENGTH} to {MAX_LENGTH} characters")
    with AT_ONCE:
        return HASHER.hash(password)


def fits(password: str, stored: str | None) -> bool:
    """Whether the password has this hash; without a hash, a dummy hash is verified to take the same time."""
    dummy = _dummy_hash()  # always computed, so that the first unknown name does not take longer
    try:
        with AT_ONCE:
            return HASHER.verify(stored or dummy, password[:MAX_LENGTH]) and stored is not None
    except (VerifyMismatchError, InvalidHashError):
        return False


@cache
def _dummy_hash() -> str:
    """A hash that stands in for an unknown account."""
    return HASHER.hash("nobody has this password")
