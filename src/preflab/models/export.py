"""Exports trained roles as plain Hugging Face folders, with adapters merged and heads folded in.

    AutoModelForCausalLM.from_pretrained(folder)                    a policy
    AutoModelForSeq2SeqLM.from_pretrained(folder)                   a policy that is an encoder–decoder
    AutoModelForImageTextToText.from_pretrained(folder)             a policy of a vision model: the whole model
    AutoModelForSequenceClassification.from_pretrained(folder)      a reward model: reward = logit + preflab_reward_bias

A folder is first written under a temporary name. It is opened again, compared with the trained model and then renamed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from preflab.errors import PreflabError
from preflab.files import new_folder, read_json
from preflab.models.adapter_targets import read_targets
from preflab.models.adapters import load_adapter_state
from preflab.models.classifiers import (
    make_room,
    name_config_class,
    native_classifier,
    padding_apart,
    pair_classifier,
    pooled_classifier,
)
from preflab.models.encoder_decoders import EncoderDecoder
from preflab.models.families import token_logits
from preflab.models.kinds import family_of
from preflab.models.language_model import open_reader
from preflab.models.loading import load_causal_lm
from preflab.models.merge import MERGED, merged_language_model
from preflab.models.role_files import base_storage
from preflab.models.trunk import Trunk
from preflab.settings.learning import LoraSettings
from preflab.training.batches import TokenSequence
from preflab.training.joined_rows import join_rows
from preflab.training.tensor_files import read_tensors, system_errors

ALLOWED = {torch.float32: 1e-5, torch.bfloat16: 5e-2, torch.float16: 5e-3}
"""Largest allowed difference between the outputs of the exported and the trained model, as a share of the largest
output (at least 1)."""


def export_policy(base: Path | str, adapter: Path, out: Path, *, dtype: str = "float32") -> float:
    """Merge a LoRA adapter into its base model and save the model with its tokenizer in `out`.

    If preflab trained the adapter on a quantised base, the base is quantised again and the adapter is merged into the
    weights that this base computes with.

    Args:
        base: folder or Hub id of the model that the adapter was trained on.
        adapter: folder with adapter_model.safetensors and adapter_config.json (preflab's or peft's).
        out: the folder to write. An existing folder is replaced after the new one is complete.

    Returns:
        The largest difference between the logits of the reopened folder and of the unmerged model.

    Raises:
        PreflabError: the adapter does not fit the base or is of a kind that cannot be merged, or the logits differ too
            much.
    """
    config = _read_config(adapter)
    role = adapter / "role.json"  # absent from peft's own folders, which do not say how the base was stored
    storage: Any = base_storage(read_json(role)) if role.is_file() else "as_loaded"
    lora = LoraSettings(rank=config["r"], alpha=config["lora_alpha"], base=storage)
    state = read_tensors(adapter / "adapter_model.safetensors")
    opened = open_reader(base, dtype=dtype, causal=True)
    targets = read_targets(opened.model, config, state)
    trunk = Trunk(opened.model, opened.tokenizer, lora=lora, roles=("policy",), targets=targets)
    load_adapter_state(trunk.model, "policy", state, str(adapter))
    return export_language_model(trunk, "policy", out)


def export_language_model(trunk: Trunk, role: Any, out: Path) -> float:
    """Save a role's language model, with its adapter merged, and the tokenizer in `out`.

    The generation configuration lists every token that ends a turn of the chat template, so that `generate` ends there.

    Returns:
        The largest difference between the logits of the reopened folder and of the unmerged model.
    """
    from preflab.conversations.renderer import name_stops

    rows = _probe(trunk)
    with new_folder(out) as beside, system_errors(out), torch.no_grad():
        model = merged_language_model(trunk, role)
        name_stops(model, trunk.tokenizer)
        model.save_pretrained(beside)
        trunk.tokenizer.save_pretrained(beside)
        with trunk.role(role):
            expected = token_logits(trunk.family, trunk.language_model(role), rows, trunk.pad_id)
        effect = None
        if trunk.lora:
            with trunk.role("reference"):
                reference = trunk.language_model("reference")
                effect = expected - token_logits(trunk.family, reference, rows, trunk.pad_id)
        opened = load_causal_lm(beside, dtype=expected.dtype).to(trunk.device)
        logits = token_logits(family_of(opened), opened, rows, trunk.pad_id)  # with the folder's own start tokens
        return _compared(logits, expected, out, effect)


def export_reward(trunk: Trunk, out: Path) -> float:
    """Save the reward role as a sequence classifier with one label, and the tokenizer, in `out`.

    logit = gain · weight · state; config.preflab_reward_bias = gain · bias + offset; reward = logit + that bias.
    The padding token in the configuration is never the end token, because decoder classifiers find the last real token
    by it. The tokenizer pads on the right. If transformers has no classifier for the architecture, or its classifier
    gives other scores, the code of the class is saved in the folder (`trust_remote_code=True` opens it). Of a model
    that also takes images or audio, only the text model is saved. An encoder–decoder reads the prompt in its encoder
    and the completion in its decoder, which no class of transformers does, so it is always saved with its code.

    Returns:
        The largest difference between rewards from the reopened folder and from the trunk.

    Raises:
        PreflabError: the rewards differ too much.
    """
    body = trunk.family.without_head(merged_language_model(trunk, "reward"))
    if isinstance(trunk.family, EncoderDecoder):
        return _write_classifier(trunk, pair_classifier(trunk, body), trunk.tokenizer, out)
    tokenizer = padding_apart(trunk.tokenizer)
    native = native_classifier(trunk, body)
    if native is not None:
        try:
            return _write_classifier(trunk, native, tokenizer, out)
        except PreflabError as error:
            if "differs from" not in error.found:
                raise
    return _write_classifier(trunk, pooled_classifier(trunk, body), tokenizer, out)


def _write_classifier(trunk: Trunk, classifier: Any, tokenizer: Any, out: Path) -> float:
    """Save a classifier, open it again and compare its rewards with the trunk's; return the largest difference."""
    make_room(classifier, tokenizer)
    rows = _probe(trunk)
    with new_folder(out) as beside, system_errors(out), torch.no_grad():
        classifier.save_pretrained(beside)
        name_config_class(beside, classifier.config)
        tokenizer.save_pretrained(beside)
        expected = trunk(trunk.collate(rows), ("reward",))["reward"].rewards
        effect = expected - trunk.head("reward")(trunk.pooled(trunk.collate(rows), "reference")) if trunk.lora else None
        opened = _opened_classifier(beside, classifier).to(trunk.device)
        logits = opened(**_classifier_inputs(trunk, rows, tokenizer.pad_token_id)).logits[:, 0]
        return _compared(logits + classifier.config.preflab_reward_bias, expected, out, effect)


def _classifier_inputs(trunk: Trunk, rows: list[TokenSequence], pad_id: int) -> dict[str, Tensor]:
    """Arguments of the exported classifier for some rows."""
    if not isinstance(trunk.family, EncoderDecoder):
        batch = join_rows(rows, pad_id).to(trunk.device)
        return {"input_ids": batch.input_ids, "attention_mask": batch.state_mask.long()}
    apart = trunk.family.collate(rows, pad_id).to(trunk.device)
    return {
        "input_ids": apart.input_ids[apart.prompt_rows],
        "attention_mask": apart.attention_mask[apart.prompt_rows],
        "decoder_input_ids": apart.decoder_input_ids,
        "decoder_attention_mask": apart.state_mask.long(),
    }


def _read_config(adapter: Path) -> dict[str, Any]:
    """Read the configuration of an adapter in peft's format.

    Raises:
        PreflabError: the adapter does not compute W + α/r · BA.
    """
    config: dict[str, Any] = read_json(adapter / "adapter_config.json")
    neutral: dict[str, tuple[Any, ...]] = {
        "peft_type": ("LORA",),
        "use_dora": (None, False),
        "use_rslora": (None, False),
        "bias": (None, "none"),
        "modules_to_save": (None, []),
    }
    for key, values in neutral.items():
        if config.get(key) not in values:
            raise PreflabError(
                f"{adapter / 'adapter_config.json'}: {key} = {config.get(key)}",
                "a plain LoRA adapter, without DoRA, rsLoRA, biases or modules_to_save",
                "merge it with the library that trained it",
            )
    return config


def _probe(trunk: Trunk) -> list[TokenSequence]:
    """Three test rows of 12, 7 and 2 random tokens without special tokens."""
    size = min(len(trunk.tokenizer), trunk.model.get_input_embeddings().weight.shape[0])
    usable = [i for i in range(size) if i not in set(trunk.tokenizer.all_special_ids)][:4096]
    places = torch.randint(len(usable), (3, 12), generator=torch.Generator().manual_seed(0))
    rows = [tuple(usable[i] for i in row[:n].tolist()) for row, n in zip(places, (12, 7, 2), strict=True)]
    return [TokenSequence(row[:1], row[1:]) for row in rows]


def _opened_classifier(folder: Path, like: Any) -> Any:
    from transformers import AutoConfig

    return type(like).from_pretrained(folder, config=AutoConfig.from_pretrained(folder), dtype=like.dtype).eval()


def _compared(reopened: Tensor, expected: Tensor, out: Path, effect: Tensor | None) -> float:
    """The largest difference between two outputs.

    Raises:
        PreflabError: the difference is larger than rounding explains, relative to the output or to training's effect.
    """
    difference = (reopened.float() - expected.float()).abs().max().item()
    allowed = ALLOWED[reopened.dtype] * max(1.0, expected.abs().max().item())
    if effect is not None:
        allowed = max(allowed, MERGED * effect.float().abs().max().item())
    if not difference <= allowed:
        raise PreflabError(
            f"{out}: the exported model differs from the trained one by {difference:.1e}",
            f"a difference of at most {allowed:.1e}",
            "export in float32; if the difference remains, this architecture cannot be merged",
        )
    return difference
