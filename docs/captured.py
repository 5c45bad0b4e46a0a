"""Writes docs/reference/captured.md: how the decode steps of a tiny model of every architecture can be captured.

python docs/captured.py                    tries all of them, about ten minutes on one core
python docs/captured.py llama "gpt_oss"    tries these only and writes nothing
"""

from __future__ import annotations

import logging
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY / "tests"), str(REPOSITORY / "src")]
PAGE = REPOSITORY / "docs" / "reference" / "captured.md"

HEAD = """# Captured decoding

<!-- Written by docs/captured.py, which tries every architecture. -->

Which architectures decode over fixed buffers, and whether their steps can be captured as graphs (see
[captured decoding](../decisions/captured-decoding.md)). Each was tried on a CPU with a tiny random model and an
adapter: 12 completions of six prompts, in buckets of 12, 8, 6 and 4 rows, by the plain loop, over fixed buffers, and
with steps that a stand-in for a CUDA graph recorded and replayed. All of them wrote the same tokens, except where a
draw lay within 1e-6 of the boundary between two tokens. No graph was captured on a GPU for this table.

| captured | what it says |
| --- | --- |
| yes | steps are captured |
| no: an operation | in every step the model's own code waits for this operation or sends a tensor to the device |
| no fixed buffers | the cache is of another kind, or the model does not reproduce its logits over buffers |
| – | refused as a policy, see [Models](models.md) |

What is not captured is decoded by the plain loop, and one line says so.

"""
COLUMNS = ("architecture", "decodes", "captured")


def try_out(name: str, folder: Path) -> tuple[str, ...]:
    """The row of one architecture.

    Raises:
        AssertionError: a completion differs from that of the plain loop.
    """
    from captured_trials import try_capture
    from preflab.errors import PreflabError

    try:
        trial = try_capture(name, folder)
    except PreflabError:
        return name, "–", "–"
    assert not trial.wrong, f"{name}: {trial.wrong}"
    if not trial.fixed:
        return name, trial.way, "no fixed buffers"
    return name, trial.way, "yes" if trial.why_not is None else f"no: {trial.why_not.rpartition(': ')[2]}"


def table(rows: list[tuple[str, ...]]) -> str:
    """The page's tables, one per group of architectures, each with a count."""
    from architecture_table import GROUPS

    by_name, parts = {row[0]: row for row in rows}, []
    for title, names in GROUPS.items():
        chosen = [by_name[name] for name in names if name in by_name]
        num_captured = sum(row[2] == "yes" for row in chosen)
        num_policies = sum(row[2] != "–" for row in chosen)
        lines: list[Any] = [COLUMNS, ("---",) * len(COLUMNS), *chosen]
        body = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        parts.append(f"## {title}\n\n{num_captured} of {num_policies} are captured.\n\n{body}\n")
    return "\n".join(parts)


def main(names: list[str]) -> int:
    """Try the named architectures, or all of them and write the page."""
    import torch
    import transformers

    from architecture_table import ARCHITECTURES

    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    rows = []
    for name in names or ARCHITECTURES:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(try_out(name, Path(folder)))
        print(*rows[-1], sep=" | ", flush=True)
    if not names:
        PAGE.write_text(HEAD + table(rows), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
