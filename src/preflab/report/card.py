"""The model card of an exported model, README.md, written from the run that made it.

It states what a reader on the Hub needs: the base model, how the model was made and from which data, measurements with
intervals, alarms, and what was not measured. The user has to choose the licence.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from preflab import __version__
from preflab.report.card_dial import Dialled
from preflab.report.card_figures import measured_lines
from preflab.report.card_limits import limit_lines
from preflab.report.card_recipe import redact_name, redact_recipe
from preflab.report.escaped_markdown import cells, fenced, plain
from preflab.report.lineage import Lineage
from preflab.report.run_folders import Run
from preflab.seeds import split_seed
from preflab.words import count

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
CLASSIFIER = "AutoModelForSequenceClassification"
TASKS = {CLASSIFIER: "text-classification", "AutoModelForImageTextToText": "image-text-to-text"}
"""Class of transformers → the Hub's name of its task; every other class generates text."""
LICENCE = (
    "Not stated. It depends on the licences of the base model and of the data: write it here, and as `license:` in "
    "the header above."
)
METHODS = {
    "sft": "by supervised fine-tuning",
    "ppo": "by PPO",
    "grpo": "by GRPO",
    "online_dpo": "by online DPO",
    "dpo": "by DPO",
    "reward": "as a Bradley–Terry reward model",
    "rating": "as a reward model of ratings",
    "classifier": "as a classifier of single texts",
    "tiny": "from random weights, as a tiny language model",
}
"""Kind of stage → the method, as the end of "Made with preflab …"."""


@dataclass(frozen=True)
class Use:
    """How the model of a card is loaded and prompted."""

    opener: str
    """The class of transformers that opens the folder."""
    name: str
    """Its name on the Hub, else the folder's name."""
    brings_code: bool = False
    """Whether loading it needs `trust_remote_code=True`."""
    chats: bool = False
    """Whether its tokenizer has a chat template."""


def model_card(lineage: Lineage, use: Use, dialled: Dialled | None = None) -> str:
    """The text of README.md for a model that a stage made.

    Args:
        lineage: the stage, the stages before it, and the stages that measured its model.
        use: how the model is loaded.
        dialled: if the model is a setting of the stage's dial: which one. The measurements are then those at it.
    """
    compared = dialled is not None and dialled.measured is not None
    if dialled is not None:
        lineage = replace(lineage, after=())
    run, base = lineage.run, base_of(lineage)
    hub_id = base if base is not None and is_hub_id(base, run.folder.parent.parent) else None
    parts = [
        _header(["preflab", run.kind.replace("_", "-"), *_variants(run)], use.opener, hub_id),
        f"# {plain(run.name) if dialled is None else dialled.title}",
        *([] if dialled is None else [dialled.opening()]),
        _opening(lineage, base, hub_id),
        "## Use",
        fenced(_snippet(use), "python"),
        "## How it was made",
        _stages(lineage),
        "## Data",
        _data(lineage),
        "## Measured",
        *(measured_lines(lineage) if dialled is None else dialled.figures()),
        "## Alarms",
        _alarms(lineage),
        "## Limits",
        "\n".join(f"- {plain(line)}" for line in limit_lines(lineage, compared=compared)),
        "## Licence",
        LICENCE,
        "## The recipe",
        *_recipe(lineage),
        f"Written by preflab {__version__} from the run.",
    ]
    return "\n\n".join(parts) + "\n"


def plain_card(use: Use, base: str | None) -> str:
    """The text of README.md for a model that no stage made: it names the base, and says that the rest is unknown.

    Args:
        use: how the model is loaded.
        base: the base model of a merged adapter; None for any other model.
    """
    hub_id = base if base is not None and is_hub_id(base, Path()) else None
    merged = f"An adapter, merged into {f'[{hub_id}](https://huggingface.co/{hub_id})' if hub_id else 'its base'}. "
    parts = [
        _header(["preflab"], use.opener, hub_id),
        "# A model",
        (merged if base else "")
        + f"Written by preflab {__version__} from a folder that no stage of a recipe made. How the model "
        "was made, from which data, and how good it is, is unknown.",
        "## Use",
        fenced(_snippet(use), "python"),
        "## Licence",
        LICENCE,
    ]
    return "\n\n".join(parts) + "\n"


def base_of(lineage: Lineage) -> str | None:
    """The model that the chain of stages started from, as the recipe names it; None if it began with random weights."""
    run = lineage.run
    seen = {run.name}
    while True:
        ref = run.settings.get("model")
        following = lineage.named(str(ref)) if ref else None
        if following is None or following.name in seen:
            return str(ref) if ref else None
        run = following
        seen.add(run.name)


def is_hub_id(ref: str, folder: Path) -> bool:
    """Whether `ref` must be an id on the Hub: it has the form, and no such folder exists here or beside the runs."""
    return bool(HUB_ID.fullmatch(ref)) and not (Path(ref).is_dir() or (folder / ref).is_dir())


def _header(tags: Sequence[str], opener: str, hub_id: str | None) -> str:
    """The YAML header that the Hub reads. Values are written as JSON, which is valid YAML."""
    fields: dict[str, Any] = {"library_name": "transformers", "pipeline_tag": TASKS.get(opener, "text-generation")}
    if hub_id is not None:
        fields |= {"base_model": hub_id, "base_model_relation": "finetune"}
    fields["tags"] = list(dict.fromkeys(tags))
    lines = [f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in fields.items()]
    return "\n".join(["---", *lines, "---"])


def _variants(run: Run) -> list[str]:
    """The losses of a dpo stage or the algorithm of a grpo stage, as tags."""
    losses = [str(loss["kind"]) for loss in run.settings.get("losses") or []]
    algorithm = run.settings.get("algorithm")
    return [*losses, *([str(algorithm).replace("_", "-")] if algorithm else [])]


def _opening(lineage: Lineage, base: str | None, hub_id: str | None) -> str:
    run = lineage.run
    how = METHODS.get(run.kind, f"by {run.kind}")
    variants = [each for each in _variants(run) if each != run.kind]
    named = f" ({', '.join(variants)})" if variants else ""
    if base is None:
        start = "The base was trained from random weights in the same recipe"
    elif hub_id is not None:
        start = f"Base model: [{hub_id}](https://huggingface.co/{hub_id})"
    else:
        start = f"Base model: a local folder called `{redact_name(base)}`"
    seed = split_seed(run.name)[1]
    which = "" if seed is None else f", training seed {seed}"
    return f"Made with preflab {_version(run)} {how}{named}, stage `{run.name}` of a recipe{which}. {start}."


def _version(run: Run) -> str:
    return str((run.manifest.get("versions") or {}).get("preflab", __version__))


def _snippet(use: Use) -> str:
    more, name = ", trust_remote_code=True" if use.brings_code else "", json.dumps(use.name, ensure_ascii=False)
    lines = [
        f"from transformers import {use.opener}, AutoTokenizer",
        "",
        f"model = {use.opener}.from_pretrained({name}{more})",
        f"tokenizer = AutoTokenizer.from_pretrained({name})",
    ]
    if use.opener == CLASSIFIER:
        lines += [
            "# ids: (1, length), the tokens of a prompt and its completion, up to and including the end-of-turn token",
            "reward = model(ids).logits[0, 0] + model.config.preflab_reward_bias",
        ]
    elif use.chats:
        lines += [
            'turns = [{"role": "user", "content": "Hello"}]',
            "inputs = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=True, "
            'return_tensors="pt")',
            "ids = model.generate(**inputs, max_new_tokens=256)",
            'print(tokenizer.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))',
        ]
    return "\n".join(lines)


def _stages(lineage: Lineage) -> str:
    rows = [
        [f"`{run.name}`", run.kind, str(run.manifest.get("summary") or ""), str(run.manifest.get("seed", "")),
         f"`{str(run.manifest.get('key', ''))[:12]}`"]
        for run in (*lineage.before, lineage.run)
    ]  # fmt: skip
    table = cells(["stage", "kind", "result", "seed", "key"], rows)
    versions = lineage.run.manifest.get("versions") or {}
    software = ", ".join(f"{name} {version}" for name, version in versions.items())
    gone = f" The folders of these stages no longer exist: {', '.join(lineage.missing)}." if lineage.missing else ""
    return f"{table}\n\nA key is the hash of a stage's settings, inputs and version. Software: {software}.{gone}"


def _data(lineage: Lineage) -> str:
    """A table of data files with count and hash, and of frozen preferences with the hash of their content."""
    rows = [row for run in (*lineage.before, lineage.run, *lineage.after) for row in _data_rows(run)]
    if not rows:
        return "These stages read no data file, or recorded none."
    table = cells(["data", "read by", "file", "number", "SHA-256"], rows)
    return f"{table}\n\nThe texts themselves are not part of this card."


def _data_rows(run: Run) -> Iterable[Sequence[str]]:
    for name, one in (run.manifest.get("data") or {}).items():
        where = f"`{one['file']}`" if "file" in one else f"data set `{one['data_set']}`"
        digest = f"`{one['sha256']}`" if "sha256" in one else "not of one file"
        yield f"`{name}`", f"`{run.name}`", where, f"{one['num']:,}", digest
    snapshot = run.json("snapshot/manifest.json")
    if snapshot.get("content_hash"):
        counts = ", ".join(f"{num:,} {what}" for what, num in (snapshot.get("counts") or {}).items())
        yield f"labels of `{run.name}`", "stages after it", "frozen snapshot", counts, f"`{snapshot['content_hash']}`"


def _alarms(lineage: Lineage) -> str:
    lines = [line for run in (*lineage.before, lineage.run) for line in _fired(run)]
    if lines:
        return "\n".join(lines)
    watched = [
        run.name for run in (*lineage.before, lineage.run) if run.manifest.get("figures", {}).get("num_alarms") == 0
    ]
    if watched:
        return f"None fired in {', '.join(f'`{name}`' for name in watched)}."
    return "Training of this kind has no alarms."


def _fired(run: Run) -> Iterable[str]:
    fired: dict[str, list[dict[str, Any]]] = {}
    for row in run.alarms:
        fired.setdefault(str(row.get("alarm", "alarm")), []).append(row)
    for name, rows in fired.items():
        when = f"step {rows[0].get('step')}"
        if len(rows) > 1:
            when = f"{count(len(rows), 'time')}, first at {when}"
        yield f"- `{run.name}`: {plain(name)}, {when}. {plain(str(rows[-1].get('message', '')))}"


def _recipe(lineage: Lineage) -> list[str]:
    """The stages of the resolved recipe that made and measured the model, as Markdown blocks."""
    names = [run.name for run in (*lineage.before, lineage.run, *lineage.after)]
    path = lineage.run.folder / "recipe.resolved.yaml"
    if not path.is_file():
        settings = json.dumps(dict(lineage.run.settings), indent=2, ensure_ascii=False)
        return [fenced(settings, "json")]
    text = redact_recipe(path.read_text(encoding="utf-8"), names)
    sentence = "Every setting with its value; paths and addresses of the training machine are left out."
    return [sentence, f"<details>\n<summary>recipe.yaml</summary>\n\n{fenced(text, 'yaml')}\n\n</details>"]
