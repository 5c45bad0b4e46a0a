"""Trained roles as plain Hugging Face folders: adapters merged, heads folded in, opened again and compared.

    AutoModelForCausalLM.from_pretrained(folder)                    a policy
    AutoModelForSequenceClassification.from_pretrained(folder)      a reward model: reward = logit + preflab_reward_bias

Folders are written beside their place and renamed, after the comparison.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from preflab.errors import PreflabError
from preflab.files import new_folder, read_json
from preflab.models.adapters import load_adapter_state
from preflab.models.loading import load_causal_lm, load_tokenizer, spare_pad_token
from preflab.models.logit_path import decoder_of
from preflab.models.merge import merged_language_model
from preflab.models.trunk import Trunk
from preflab.settings.learning import LoraSettings
from preflab.training.batches import Sequence, collate
from preflab.training.tensor_files import read_tensors, system_errors

ALLOWED = {torch.float32: 1e-5, torch.bfloat16: 5e-2, torch.float16: 5e-3}
"""Largest deviation of an exported model from what it was made of, as a share of its largest output (at least 1)."""


def export_policy(base: Path | str, adapter: Path, out: Path, *, dtype: str = "float32") -> float:
    """Merge a LoRA adapter into its base model, with the tokenizer, in `out`.

    Args:
        base: folder or Hub id of the model that the adapter was trained on.
        adapter: folder with adapter_model.safetensors and adapter_config.json (preflab's or peft's).
        out: where to; a former folder there is replaced once the new one is whole.

    Returns:
        The largest difference between logits of the opened folder and of the unmerged model.

    Raises:
        PreflabError: the adapter does not fit the base or is of a kind that cannot be merged; the result differs.
    """
    tokenizer = load_tokenizer(base, writes=False)
    lora = _lora_of(adapter)
    trunk = Trunk(load_causal_lm(base, dtype=dtype), tokenizer, lora=lora, roles=("policy",))
    load_adapter_state(trunk.model, "policy", read_tensors(adapter / "adapter_model.safetensors"), str(adapter))
    return export_language_model(trunk, "policy", out)


def export_language_model(trunk: Trunk, role: Any, out: Path) -> float:
    """A role's language model, adapters merged, with its tokenizer, in `out`; returns as `export_policy`."""
    with new_folder(out) as beside, system_errors(out):
        merged_language_model(trunk, role).save_pretrained(beside)
        trunk.tokenizer.save_pretrained(beside)
        batch = _probe(trunk).input_ids
        with trunk.role(role), torch.no_grad():
            expected = trunk.language_model(role)(input_ids=batch, use_cache=False).logits
        opened = load_causal_lm(beside, dtype=expected.dtype).to(trunk.device)
        with torch.no_grad():
            found = opened(input_ids=batch, use_cache=False).logits
        return _compared(found, expected, out)


def export_reward(trunk: Trunk, out: Path) -> float:
    """The reward role as a sequence classifier with one label, with the tokenizer, in `out`.

    logit = gain · weight · state; config.preflab_reward_bias = gain · bias + offset; reward = logit + that bias.
    The configuration always has a padding token that ends no text, since decoders find the last token by it; the
    tokenizer pads on the right. An encoder that pools in a way its own classifier cannot brings its class along
    (`trust_remote_code=True` opens it).

    Returns:
        The largest difference between rewards from the opened folder and the trunk's own.

    Raises:
        PreflabError: this architecture has no sequence classifier; the result differs.
    """
    model = merged_language_model(trunk, "reward")
    body = decoder_of(model) if model.get_output_embeddings() is not None else model
    tokenizer = _padding_apart(trunk.tokenizer)
    make = _decoder_classifier if trunk.pooling == "last" else _encoder_classifier
    with torch.random.fork_rng(devices=[]):
        classifier = make(trunk, body)
    _make_room(classifier, tokenizer)
    with new_folder(out) as beside, system_errors(out):
        classifier.save_pretrained(beside)
        tokenizer.save_pretrained(beside)
        batch = _probe(trunk)
        with torch.no_grad():
            expected = trunk(batch, ("reward",))["reward"].rewards
            found = (
                _opened_classifier(beside, classifier)
                .to(trunk.device)(
                    input_ids=batch.input_ids.masked_fill(~batch.attention_mask, tokenizer.pad_token_id),
                    attention_mask=batch.attention_mask.long(),
                )
                .logits[:, 0]
            )
        return _compared(found + classifier.config.preflab_reward_bias, expected, out)


def _lora_of(adapter: Path) -> LoraSettings:
    """The settings of an adapter in peft's format; whatever is not W + α/r · BA is refused."""
    config = read_json(adapter / "adapter_config.json")
    neutral: dict[str, tuple[Any, ...]] = {
        "peft_type": ("LORA",),
        "use_dora": (None, False),
        "use_rslora": (None, False),
        "bias": (None, "none"),
        "modules_to_save": (None, []),
        "rank_pattern": (None, {}),
        "alpha_pattern": (None, {}),
    }
    for key, values in neutral.items():
        if config.get(key) not in values:
            raise PreflabError(
                f"{adapter / 'adapter_config.json'}: {key} = {config.get(key)}",
                "a plain LoRA adapter",
                "merge it with the library that made it",
            )
    targets = config["target_modules"]
    return LoraSettings(
        rank=config["r"],
        alpha=config["lora_alpha"],
        target_modules=targets if isinstance(targets, str) else tuple(targets),
    )


def _decoder_classifier(trunk: Trunk, decoder: Any) -> Any:
    """The architecture's own classifier, which scores the last token that is not padding."""
    classifier = _own_classifier(trunk, decoder)
    body = classifier.base_model
    if type(body) is not type(decoder):
        body = body.get_decoder()
    body.load_state_dict(decoder.state_dict())
    _fill_linear(classifier.score, trunk)
    return classifier


def _encoder_classifier(trunk: Trunk, encoder: Any) -> Any:
    """BERT's own classifier for the first token, its pooler made linear; else one that pools as the trunk does."""
    from transformers.models.bert import BertModel

    if isinstance(encoder, BertModel) and trunk.pooling == "first":
        classifier = _own_classifier(trunk, encoder)
        classifier.bert.load_state_dict(encoder.state_dict(), strict=False)
        _fill_linear(classifier.classifier, trunk)
        _make_pooler_linear(classifier.bert.pooler.dense, classifier.classifier)
        return classifier
    from preflab.models.pooled_classifier import PooledClassifier

    PooledClassifier.register_for_auto_class("AutoModelForSequenceClassification")
    classifier = PooledClassifier(_reward_config(trunk, encoder))
    classifier.encoder.load_state_dict(encoder.state_dict())
    _fill_linear(classifier.score, trunk)
    return classifier.to(encoder.dtype)


def _own_classifier(trunk: Trunk, body: Any) -> Any:
    from transformers import AutoModelForSequenceClassification

    try:
        return AutoModelForSequenceClassification.from_config(_reward_config(trunk, body), dtype=body.dtype).eval()
    except ValueError as error:
        raise PreflabError(
            f"transformers has no sequence classifier for {body.config.model_type}",
            "an architecture such as Llama, GPT-2, Qwen or BERT",
            "use the reward model's own folder with preflab, which needs no export",
        ) from error


@torch.no_grad()
def _reward_config(trunk: Trunk, body: Any) -> Any:
    """The model's configuration, as one of a classifier with one label."""
    config = copy.deepcopy(body.config)
    head = trunk.head("reward")
    config.num_labels = 1
    config.id2label, config.label2id = {0: "reward"}, {"reward": 0}
    config.problem_type = "regression"
    config.preflab_reward_bias = (head.gain * head.linear.bias + head.offset).item()
    config.preflab_reward_pooling = trunk.pooling
    return config


@torch.no_grad()
def _fill_linear(linear: nn.Linear, trunk: Trunk) -> None:
    """gain · weight; the bias stands in the configuration, since most classifiers of decoders have none."""
    head = trunk.head("reward")
    linear.weight.copy_(head.gain * head.linear.weight)
    if linear.bias is not None:
        linear.bias.zero_()


@torch.no_grad()
def _make_pooler_linear(dense: nn.Linear, classifier: nn.Linear, scale: float = 2.0**-14) -> None:
    """tanh(scale · h) / scale = h · (1 − (scale · h)² / 3 + …): exact to 1e-7 for states up to 10."""
    dense.weight.copy_(scale * torch.eye(dense.weight.shape[0]))
    dense.bias.zero_()
    classifier.weight.div_(scale)


def _padding_apart(tokenizer: Any) -> Any:
    """A copy that pads on the right with a token that ends and begins no text."""
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.padding_side = "right"
    if tokenizer.pad_token_id in (None, tokenizer.eos_token_id, tokenizer.bos_token_id):
        tokenizer.pad_token = spare_pad_token(tokenizer) or "<|pad|>"
        if tokenizer.pad_token_id in (None, tokenizer.unk_token_id):
            tokenizer.add_special_tokens({"pad_token": "<|pad|>"})
    return tokenizer


def _make_room(classifier: Any, tokenizer: Any) -> None:
    """Name the padding token, with a row of the embedding for it where it is new."""
    if tokenizer.pad_token_id >= classifier.get_input_embeddings().num_embeddings:
        classifier.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    classifier.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    classifier.config.pad_token_id = tokenizer.pad_token_id


def _probe(trunk: Trunk) -> Any:
    """Right-padded rows of 12, 7 and 1 tokens, none of them special."""
    size = trunk.model.config.get_text_config().vocab_size
    usable = [i for i in range(size) if i not in set(trunk.tokenizer.all_special_ids)][:4096]
    places = torch.randint(len(usable), (3, 12), generator=torch.Generator().manual_seed(0))
    rows = [tuple(usable[i] for i in row[:n].tolist()) for row, n in zip(places, (12, 7, 2), strict=True)]
    return collate([Sequence(row[:1], row[1:]) for row in rows], trunk.pad_id).to(trunk.device)


def _opened_classifier(folder: Path, like: Any) -> Any:
    from transformers import AutoConfig

    return type(like).from_pretrained(folder, config=AutoConfig.from_pretrained(folder), dtype=like.dtype).eval()


def _compared(found: Tensor, expected: Tensor, out: Path) -> float:
    """The largest difference, if it is within what rounding explains."""
    difference = (found.float() - expected.float()).abs().max().item()
    allowed = ALLOWED[found.dtype] * max(1.0, expected.abs().max().item())
    if not difference <= allowed:
        raise PreflabError(
            f"{out}: the exported model differs from the trained one by {difference:.1e}",
            f"at most {allowed:.1e}",
            "export in float32; if it differs there too, this architecture cannot be merged",
        )
    return difference
