"""Writes docs/reference/models.md: tests of a tiny model of every architecture, with the results.

python docs/models.py                    tests all of them, about half an hour on one core
python docs/models.py llama "gpt_oss"    tests these only and writes nothing
"""

from __future__ import annotations

import logging
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY / "tests"), str(REPOSITORY / "src")]
PAGE = REPOSITORY / "docs" / "reference" / "models.md"

HEAD = """# Models

<!-- Written by docs/models.py, which tries every architecture; run it with `make models`. -->

Results of tests on a tiny random model of every architecture, in float32 on a CPU, with the versions in
`constraints.txt`. To test your own model, run `preflab check`. Chat templates have
[a table of their own](published-templates.md).

| column | what it says |
| --- | --- |
| check | whether every row of `preflab check` holds, or which rows do not |
| decodes | how the sampler feeds the model |
| agreement | largest deviation of the sampler's and the trainer's log-probabilities from the model's own, nats |
| LoRA | how many kinds of layers carry an adapter with `all-linear`, and which do not |
| trains | the loss on one batch before and after two steps of AdamW on the adapter |
| policy | largest difference of a logit after the merged policy is saved and opened by its own class |
| reward | library whose class opens the exported reward model (preflab: `trust_remote_code=True`), largest difference |

The model's own log-probabilities are computed row by row, without padding, mask or cache, for prompts of 2 to 25 tokens
with 12 new ones and an adapter that is not zero. Gemma 4 does not scale its attention scores down, which magnifies
rounding; in float64 it agrees as well as the others. LED reads prompts without global attention, BigBird-Pegasus with
full attention, and T5Gemma 2 without images.

"""
COLUMNS = ("architecture", "check", "decodes", "agreement", "LoRA", "trains", "policy", "reward")


@dataclass
class Tried:
    """A row of the table; if the model is refused, the reason is the only filled cell."""

    name: str
    check: str = ""
    decodes: str = ""
    agreement: str = ""
    lora: str = ""
    trains: str = ""
    policy: str = ""
    reward: str = ""
    refused: str = ""

    def cells(self) -> tuple[str, ...]:
        """As in `COLUMNS`."""
        measured = (self.decodes, self.agreement, self.lora, self.trains, self.policy)
        return self.name, self.refused or self.check, *(cell or "–" for cell in measured), self.reward


def try_out(name: str, folder: Path) -> Tried:
    """Run every test on one architecture; returns its row of the table."""
    from architecture_trials import save
    from preflab.errors import PreflabError

    base, row = save(name, folder / "base"), Tried(name)
    try:
        row.check = check(base)
        row.decodes, row.agreement = agree(base)
        row.lora = adapters(base)
        row.trains = train(base)
        row.policy = policy(base, folder)
    except PreflabError as error:
        row.refused = f"refused: {error.found.partition(': ')[2]}"
    row.reward = reward(base, folder)
    return row


def check(base: Path) -> str:
    """`holds`, or the rows of `preflab check` that do not hold."""
    from preflab.models.check import check_model
    from preflab.sampling.engine import TransformersEngine

    wrong = [f"{row.name}: {row.measured}" for row in check_model(base, TransformersEngine) if not row.holds]
    return "holds" if not wrong else "; ".join(wrong)


def agree(base: Path) -> tuple[str, str]:
    """The engine's decode path, and the deviations of sampler and trainer in nats."""
    from architecture_trials import load_trunk, measure_agreement

    found = measure_agreement(load_trunk(base, ("policy",)))
    return found.path, f"{found.sampler:.0e}, {found.trainer:.0e}"


def adapters(base: Path) -> str:
    """Number of kinds of layers (by the last part of their names) with an adapter, and the layers without one."""
    from architecture_trials import load_trunk

    targets = load_trunk(base, ("policy",)).targets["policy"]
    kinds = {name.split(".")[-1] for name in targets.modules}
    kinds |= {".".join(name.split(".")[-2:]) for name in targets.parameters}
    left_out = targets.describe_left_out()
    return f"{len(kinds)} kinds" + (f"; none on {left_out}" if left_out else "")


def train(base: Path) -> str:
    """The loss on one batch before and after training."""
    from architecture_trials import load_trunk, losses_of_training

    losses = losses_of_training(load_trunk(base, ("policy",)))
    return f"{losses[0]:.2f} → {losses[-1]:.2f}" + ("" if losses[-1] < losses[0] else ", not lower")


def policy(base: Path, folder: Path) -> str:
    """Save, merge and export the adapter, then open it again; returns the largest difference of a logit."""
    from architecture_trials import load_trunk
    from preflab.models.export import export_policy
    from preflab.models.role_files import save_role

    save_role(load_trunk(base, ("policy",)), "policy", folder / "adapter")
    return f"{export_policy(base, folder / 'adapter', folder / 'policy'):.0e}"


def reward(base: Path, folder: Path) -> str:
    """Export a reward model; returns the library whose class opens it, and the largest difference of a score."""
    from architecture_trials import load_reward_trunk
    from preflab.errors import PreflabError
    from preflab.models.classifiers import CODE
    from preflab.models.export import export_reward
    from preflab.rewards.score import is_decoder

    try:
        trunk = load_reward_trunk(base, causal=is_decoder(base))
        difference = export_reward(trunk, folder / "reward")
    except PreflabError as error:
        return f"refused: {error.found.partition(': ')[2] or error.found}"
    own = any((folder / "reward" / name).exists() for name in CODE)
    return f"{'preflab' if own else 'transformers'}, {difference:.0e}"


def table(rows: list[Tried]) -> str:
    """The page's tables, one per group of architectures."""
    from architecture_table import GROUPS

    by_name = {row.name: row for row in rows}
    parts = []
    for title, names in GROUPS.items():
        lines = [COLUMNS, tuple("---" for _ in COLUMNS), *(by_name[n].cells() for n in names if n in by_name)]
        body = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
        parts.append(f"## {title}\n\n{body}\n")
    return "\n".join(parts)


def main(names: list[str]) -> int:
    """Test the named architectures, or all of them and write the page."""
    import torch
    import transformers

    from architecture_table import ARCHITECTURES

    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    rows = []
    for name in names or ARCHITECTURES:
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            rows.append(try_out(name, Path(folder)))
        print(*rows[-1].cells(), f"{time.monotonic() - started:.0f} s", sep=" | ", flush=True)
    if not names:
        PAGE.write_text(HEAD + table(rows), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
