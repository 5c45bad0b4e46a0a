"""The sizes in which rows and keys are decoded: a captured step works for one size only, so few sizes are used."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Buckets:
    """Sizes of decode steps. Unused rows and keys are computed and ignored, so fine buckets waste less.

    Each pair of sizes is captured once, so coarse buckets take less time and memory to begin with.
    """

    rows_from: int = 8
    """The smallest number of rows; from there sizes are powers of two and the numbers halfway between them."""
    keys: int = 128
    """Key lengths are multiples of this up to 8 times it, then of twice as much up to 16 times it, and so on."""

    def num_rows(self, wanted: int) -> int:
        """The smallest size that holds `wanted` rows.

        Example:
            >>> [Buckets().num_rows(n) for n in (1, 9, 12, 13, 17, 64, 65)]
            [8, 12, 12, 16, 24, 64, 96]
        """
        size = self.rows_from
        while size < wanted:
            halfway = size + size // 2
            if size >= 2 and wanted <= halfway:
                return halfway
            size *= 2
        return size

    def num_keys(self, wanted: int) -> int:
        """The smallest size that holds `wanted` keys.

        Example:
            >>> [Buckets().num_keys(n) for n in (1, 128, 129, 1000, 1025, 2049)]
            [128, 128, 256, 1024, 1280, 2560]
        """
        step = self.keys
        while wanted > 8 * step:
            step *= 2
        return -(-wanted // step) * step
