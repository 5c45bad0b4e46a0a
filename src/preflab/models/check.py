"""`preflab check MODEL`: tests on the user's own model the properties that preflab relies on.

Each row of the table names a property and says whether it holds, what was measured and what is allowed. It ends with
advice or a remark.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from preflab.models.check_numbers import check_numbers
from preflab.models.check_rows import CheckRow
from preflab.models.check_turns import check_turns
from preflab.models.facts import ModelFacts
from preflab.models.language_model import open_language_model
from preflab.models.vocabulary import ADVICE, FITS
from preflab.training.token_limits import TokenLimits


def check_model(ref: Path | str, sampler_of: Callable[..., Any], *, dtype: str = "float32") -> list[CheckRow]:
    """Run all checks of a language model: facts of the tokenizer, turns, then invariants on random inputs.

    If the tokenizer does not fit the embedding, the invariants are skipped: no stage would load such a model.

    Args:
        ref: folder or Hub id.
        sampler_of: builds the sampler to check; takes the same arguments as `sampling.engine.TransformersEngine`.
        dtype: type of the weights; tolerances are wider in half precision.

    Raises:
        PreflabError: the model cannot be loaded at all.
    """
    opened = open_language_model(ref, dtype=dtype)
    facts = opened.facts
    rows = [*check_facts(facts), *check_turns(opened.renderer())]
    if facts.num_token_ids > facts.vocabulary_size:
        return rows
    return [*rows, *check_numbers(opened.model, opened.tokenizer, facts, sampler_of)]


def check_facts(facts: ModelFacts) -> list[CheckRow]:
    """Rows on whether the tokenizer and the configuration agree."""
    known_stops = [token for token in facts.stop_token_ids if token < facts.vocabulary_size]
    return [
        CheckRow(
            "tokenizer fits the embedding",
            facts.num_token_ids <= facts.vocabulary_size,
            f"{facts.num_token_ids} tokens, {facts.vocabulary_size} rows",
            FITS,
            "" if facts.num_token_ids <= facts.vocabulary_size else ADVICE,
        ),
        CheckRow(
            "stop tokens",
            bool(known_stops) and len(known_stops) == len(facts.stop_token_ids),
            ", ".join(map(str, facts.stop_token_ids)) or "none",
            "at least one, all in the vocabulary",
            "" if known_stops else "set eos_token_id in generation_config.json, or every completion runs to its limit",
        ),
        CheckRow(
            "padding apart from the end",
            True,
            f"pad {facts.pad_id}, ends {', '.join(map(str, facts.stop_token_ids))}",
            "any: preflab finds ends by mask",
            "pad is an end token: tools that find ends by this id fail, preflab does not" if facts.pad_is_eos else "",
        ),
        CheckRow(
            "BOS once",
            True,
            f"BOS {'is' if facts.adds_bos else 'is not'} added before plain text",
            "once or never",
            "a text that starts with BOS would get a second one; preflab removes it" if facts.doubles_bos else "",
        ),
        _end_of_prompts(facts),
        CheckRow(
            "chat template",
            True,
            "present" if facts.has_chat_template else "none",
            "needed for conversations only",
            "" if facts.has_chat_template else "use plain-text prompts, or copy a chat_template.jinja into the folder",
        ),
        CheckRow(
            "context",
            True,
            _limits(facts),
            "prompt + max_new_tokens within it",
        ),
    ]


def _end_of_prompts(facts: ModelFacts) -> CheckRow:
    measured = "an end token is added to every text" if facts.adds_end else "no end token is added"
    if facts.reads_prompts_apart:
        return CheckRow("end of prompts", True, measured, "as the encoder was trained: prompts keep it")
    advice = "preflab removes it from prompts" if facts.adds_end else ""
    return CheckRow("prompts stay open", True, measured, "no end token after a prompt", advice)


def _limits(facts: ModelFacts) -> str:
    if facts.limits == TokenLimits():
        return "no limit in the configuration"
    return facts.limits.describe() if facts.reads_prompts_apart else f"{facts.context_length} tokens"
