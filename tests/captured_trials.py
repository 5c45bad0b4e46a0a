"""Decodes one model by the plain loop, over fixed buffers, and from recorded steps, on the same noise."""

from __future__ import annotations

import functools
from collections.abc import Sequence as Rows
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from architecture_trials import LORA, load_trunk, save
from preflab.models.families import token_logits
from preflab.models.trunk import Trunk
from preflab.sampling.buckets import Buckets
from preflab.sampling.capture import Captured
from preflab.sampling.engine import TransformersEngine
from preflab.sampling.randomness import uniforms
from preflab.settings.sampling import DecodingSettings
from preflab.training.batches import TokenSequence
from preflab.training.protocols import SampledCompletion, SampleRequest
from recorded_graph import RecordedGraph

SMALL = Buckets(rows_from=4, keys=16)
"""12 rows are decoded in steps of 12, 8, 6 and 4; rows of up to 49 tokens in steps of 16, 32, 48 and 64 keys."""
LENGTHS = (13, 1, 6, 25, 2, 9)
DECODING = DecodingSettings(max_new_tokens=24, max_batch_rows=12)
STOPS = tuple(range(0, 144, 20))
BOUNDARY = 1e-6
"""Distance of a uniform number from the boundary between two tokens below which rounding decides the draw."""


def requests(num_ids: int = 144) -> list[SampleRequest]:
    """Two completions of each of six prompts of 1 to 25 tokens."""
    generator = torch.Generator().manual_seed(5)
    prompts = [tuple(torch.randint(3, num_ids, (n,), generator=generator).tolist()) for n in LENGTHS]
    return [SampleRequest(prompt, seed) for seed, prompt in enumerate([*prompts, *prompts])]


def engine_of(trunk: Trunk, capture: Any, **changes: Any) -> TransformersEngine:
    """An engine that samples from the policy of a trunk."""
    return TransformersEngine(
        trunk.language_model("policy"),
        pad_id=trunk.pad_id,
        stop_token_ids=STOPS,
        role=functools.partial(trunk.role, "policy"),
        capture=capture,
        buckets=SMALL,
        **changes,
    )


def record_steps(engine: TransformersEngine) -> list[RecordedGraph]:
    """Make an engine over fixed buffers record and replay its steps; the graphs that it makes are added to the list."""
    graphs: list[RecordedGraph] = []

    def make() -> RecordedGraph:
        graphs.append(RecordedGraph())
        return graphs[-1]

    decoder = engine.fitting_decoder()
    assert decoder is not None, "not decoded over fixed buffers"
    decoder.captured = Captured(make)
    return graphs


def differing(trunk: Trunk, asked: Rows[SampleRequest], ones: Any, others: Any) -> list[str]:
    """The completions that differ, except from a draw on that rounding decides; their log-probabilities to 1e-4."""
    said = []
    for number, (request, one, other) in enumerate(zip(asked, ones, others, strict=True)):
        pairs = zip(one.token_ids, other.token_ids, strict=False)
        shorter = min(len(one.token_ids), len(other.token_ids))
        place = next((t for t, (a, b) in enumerate(pairs) if a != b), shorter)
        apart = max((abs(a - b) for a, b in zip(one.logps[:place], other.logps[:place], strict=True)), default=0.0)
        if apart > 1e-4:
            said.append(f"row {number}: log-probabilities differ by {apart:.1e}")
        elif one.token_ids != other.token_ids and distance_to_boundary(trunk, request, one, place) > BOUNDARY:
            said.append(f"row {number}: token {place} differs")
        elif one.token_ids == other.token_ids and one.finish_reason != other.finish_reason:
            said.append(f"row {number}: ended by {one.finish_reason} and by {other.finish_reason}")
    return said


@torch.no_grad()
def distance_to_boundary(trunk: Trunk, request: SampleRequest, one: SampledCompletion, place: int) -> float:
    """How far the uniform number of a draw lies from the nearest boundary between two tokens."""
    if place >= len(one.token_ids):
        return 1.0
    model = trunk.language_model("policy")
    with trunk.role("policy"):
        logits = token_logits(trunk.family, model, [TokenSequence(request.prompt_ids, one.token_ids[: place + 1])])
    boundaries = logits[-1].double().softmax(-1).cumsum(0)
    return float((boundaries - uniforms([request.seed], place + 1)[0, place]).abs().min())


@dataclass(frozen=True)
class CaptureTrial:
    """How one architecture is decoded."""

    way: str
    """The name of the pass."""
    fixed: bool
    """Whether it is decoded over fixed buffers."""
    why_not: str | None
    """Why its steps cannot be captured; None: they can."""
    wrong: tuple[str, ...]
    """Completions that differ from those of the plain loop."""


def try_capture(name: str, folder: Path) -> CaptureTrial:
    """Decode a tiny model of an architecture with an adapter in three ways."""
    trunk, asked = load_trunk(save(name, folder), ("policy",), lora=LORA), requests()
    plain = engine_of(trunk, "off").sample(asked, DECODING)
    engine = engine_of(trunk, "on")
    way = engine.decode_path
    if engine.fitting_decoder() is None:
        return CaptureTrial(way, fixed=False, why_not=None, wrong=())
    wrong = differing(trunk, asked, plain, engine.sample(asked, DECODING))
    record_steps(engine)
    decoder = engine.fitting_decoder()
    for _ in range(3):  # steps run as they are, are recorded, are replayed
        wrong += differing(trunk, asked, plain, engine.sample(asked, DECODING))
    assert decoder is not None
    return CaptureTrial(way, fixed=True, why_not=decoder.captured.why_not, wrong=tuple(wrong))
