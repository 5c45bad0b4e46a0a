"""Builds a sequence classifier from a reward role.

It is transformers' classifier for the architecture if one fits, else `PooledClassifier`, which pools as the trunk does.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import nn

from preflab.models.bodies import name_body
from preflab.models.loading import spare_pad_token
from preflab.models.trunk import Trunk

CODE = ("pooled_classifier.py", "pair_classifier.py")
"""Files of this room that are saved with a classifier of preflab's own."""


def native_classifier(trunk: Trunk, body: Any) -> Any | None:
    """transformers' classifier for the architecture, with the trunk's weights; None if it has none that could fit.

    A decoder's classifier scores the last token that is not padding. Among encoders only BERT's classifier is used, for
    the pooling "first", with its pooler made linear.
    """
    from transformers import AutoModelForSequenceClassification
    from transformers.models.bert import BertModel

    known = AutoModelForSequenceClassification._model_mapping
    if type(body.config) not in known or not known[type(body.config)].__module__.startswith("transformers."):
        return None
    if trunk.pooling == "first" and isinstance(body, BertModel):
        return _bert_classifier(trunk, body)
    if trunk.pooling != "last":
        return None
    with torch.random.fork_rng(devices=[]):
        classifier = AutoModelForSequenceClassification.from_config(reward_config(trunk, body), dtype=body.dtype).eval()
    inside = next((module for module in classifier.modules() if type(module) is type(body)), None)
    if inside is None or not isinstance(getattr(classifier, "score", None), nn.Linear):
        return None
    inside.load_state_dict(body.state_dict())
    _fill_linear(classifier.score, trunk)
    return classifier


def pooled_classifier(trunk: Trunk, body: Any) -> Any:
    """A classifier for any body, with the trunk's pooling and reward head."""
    from preflab.models.pooled_classifier import PooledClassifier

    PooledClassifier.register_for_auto_class("AutoModelForSequenceClassification")
    config = reward_config(trunk, body)
    config.preflab_reward_width = trunk.head("reward").linear.in_features
    config.preflab_reward_body = name_body(body)
    with torch.random.fork_rng(devices=[]):
        classifier = PooledClassifier(config).eval()
    # A body may lack modules that its class has by default, such as BERT's pooler; the classifier does not use them.
    classifier.encoder.load_state_dict(body.state_dict(), strict=False)
    _fill_linear(classifier.score, trunk)
    return classifier.to(body.dtype)


def pair_classifier(trunk: Trunk, body: Any) -> Any:
    """A classifier on an encoder–decoder without its head, with the trunk's pooling and reward head."""
    from preflab.models.pair_classifier import PairClassifier

    PairClassifier.register_for_auto_class("AutoModelForSequenceClassification")
    config = reward_config(trunk, body)
    config.preflab_reward_width = trunk.head("reward").linear.in_features
    config.preflab_reward_body = name_body(body)
    with torch.random.fork_rng(devices=[]):
        classifier = PairClassifier(config).eval()
    classifier.body.load_state_dict(body.state_dict())
    _fill_linear(classifier.score, trunk)
    return classifier.to(body.dtype)


def name_config_class(folder: Path, config: Any) -> None:
    """Name the configuration's class in the code saved with a model: transformers registers the classifier under it."""
    code = next((path for name in CODE if (path := folder / name).is_file()), None)
    if code is None:
        return
    kind = type(config)
    text = code.read_text(encoding="utf-8")
    text = text.replace("config_class = PreTrainedConfig", f"config_class = {kind.__name__}")
    place = "from transformers.modeling_outputs import SequenceClassifierOutput\n"
    text = text.replace(place, f"{place}from {kind.__module__} import {kind.__name__}\n")
    code.write_text(text, encoding="utf-8")


@torch.no_grad()
def reward_config(trunk: Trunk, body: Any) -> Any:
    """A copy of the body's configuration for a classifier with one label, with the reward's bias and pooling."""
    config = copy.deepcopy(body.config)
    head = trunk.head("reward")
    config.num_labels = 1
    config.id2label, config.label2id = {0: "reward"}, {"reward": 0}
    config.problem_type = "regression"
    config.preflab_reward_bias = (head.gain * head.linear.bias + head.offset).item()
    config.preflab_reward_pooling = trunk.pooling
    return config


def padding_apart(tokenizer: Any) -> Any:
    """A copy of the tokenizer that pads on the right, with a padding token that is neither BOS nor EOS."""
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.padding_side = "right"
    if tokenizer.pad_token_id in (None, tokenizer.eos_token_id, tokenizer.bos_token_id):
        tokenizer.pad_token = spare_pad_token(tokenizer) or "<|pad|>"
        if tokenizer.pad_token_id in (None, tokenizer.unk_token_id):
            tokenizer.add_special_tokens({"pad_token": "<|pad|>"})
    return tokenizer


def make_room(classifier: Any, tokenizer: Any) -> None:
    """Set the classifier's padding token, and extend the embedding if that token is new."""
    if tokenizer.pad_token_id >= classifier.get_input_embeddings().num_embeddings:
        classifier.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    classifier.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    classifier.config.pad_token_id = tokenizer.pad_token_id


def _bert_classifier(trunk: Trunk, encoder: Any) -> Any:
    from transformers import BertForSequenceClassification

    with torch.random.fork_rng(devices=[]):
        classifier = BertForSequenceClassification(reward_config(trunk, encoder)).to(encoder.dtype).eval()
    classifier.bert.load_state_dict(encoder.state_dict(), strict=False)
    _fill_linear(classifier.classifier, trunk)
    _make_pooler_linear(classifier.bert.pooler.dense, classifier.classifier)
    return classifier


@torch.no_grad()
def _fill_linear(linear: nn.Linear, trunk: Trunk) -> None:
    """Set the weight to gain · weight of the reward head, and the bias to 0.

    The head's bias is stored in the configuration, because most decoder classifiers have no bias.
    """
    head = trunk.head("reward")
    linear.weight.copy_(head.gain * head.linear.weight)
    if linear.bias is not None:
        linear.bias.zero_()


@torch.no_grad()
def _make_pooler_linear(dense: nn.Linear, classifier: nn.Linear, scale: float = 2.0**-14) -> None:
    """Make the pooler's tanh act as the identity, by scaling its input down and the classifier's weight up.

    tanh(scale · h) / scale = h · (1 − (scale · h)² / 3 + …): exact to 1e-7 for states up to 10.
    """
    dense.weight.copy_(scale * torch.eye(dense.weight.shape[0]))
    dense.bias.zero_()
    classifier.weight.div_(scale)
