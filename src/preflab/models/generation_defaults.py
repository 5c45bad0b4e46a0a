"""Removes the generation defaults of a checkpoint that change which tokens are drawn, and logs them.

The policy gradient holds for tokens drawn from the model's own distribution, and preflab's sampler draws from it. Beam
search, minimum lengths, penalties and forbidden tokens change that distribution. A policy trained without them must not
be served with them, so preflab leaves them out of the folders that it writes. Temperature, top-k, top-p and the tokens
that end or start a completion stay.
"""

from __future__ import annotations

import logging
from typing import Any

logger = logging.getLogger(__name__)

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "num_beams": (None, 1),
    "num_beam_groups": (None, 1),
    "diversity_penalty": (None, 0.0),
    "early_stopping": (None, False),
    "length_penalty": (None, 1.0),
    "min_length": (None, 0),
    "min_new_tokens": (None, 0),
    "no_repeat_ngram_size": (None, 0),
    "encoder_no_repeat_ngram_size": (None, 0),
    "repetition_penalty": (None, 1.0),
    "encoder_repetition_penalty": (None, 1.0),
    "exponential_decay_length_penalty": (None,),
    "penalty_alpha": (None, 0.0),
    "bad_words_ids": (None,),
    "sequence_bias": (None,),
    "suppress_tokens": (None, []),
    "begin_suppress_tokens": (None, []),
    "forced_eos_token_id": (None,),
    "force_words_ids": (None,),
    "constraints": (None,),
    "typical_p": (None, 1.0),
    "epsilon_cutoff": (None, 0.0),
    "eta_cutoff": (None, 0.0),
    "top_h": (None,),
    "guidance_scale": (None, 1.0, 1),
    "dola_layers": (None,),
    "watermarking_config": (None,),
}
"""Setting of a generation configuration → the values that leave the model's distribution as it is."""


def strip_generation_defaults(model: Any) -> list[str]:
    """Reset the settings of `NEUTRAL` in a model's generation configuration; return them with their values.

    T5 and BART also keep such settings per task, for pipelines. All are logged, because a trained policy is served
    without them: a model that used beam search no longer does.
    """
    config = getattr(model, "generation_config", None)
    changed = {name: value for name in NEUTRAL if (value := getattr(config, name, None)) not in NEUTRAL[name]}
    for name in changed:
        setattr(config, name, NEUTRAL[name][0])
    for task, settings in (getattr(model.config, "task_specific_params", None) or {}).items():
        for name in [name for name in settings if name in NEUTRAL and settings[name] not in NEUTRAL[name]]:
            changed[f"{task}.{name}"] = settings.pop(name)
    shown = [f"{name} = {value if not isinstance(value, list | dict) else '…'}" for name, value in changed.items()]
    if shown:
        text = "%s: generation defaults not used, and not saved with trained models: %s"
        logger.warning(text, model.config.model_type, ", ".join(shown))
    return shown
