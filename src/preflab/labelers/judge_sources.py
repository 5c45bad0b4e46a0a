"""Makes the judge that a recipe names: a local model or an endpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from preflab.labelers.ai import EndpointJudge, Judge
from preflab.labelers.endpoint import Endpoint
from preflab.labelers.questions import OWN_WORDING, VERSION, Wording
from preflab.settings.ai import EndpointSettings, JudgeSource


def make_endpoint(settings: EndpointSettings) -> Endpoint:
    """The client of the endpoint that these settings describe."""
    return Endpoint(
        settings.base_url,
        settings.model,
        api_key_env=settings.api_key_env,
        temperature=settings.temperature,
        max_tokens=settings.max_tokens,
        timeout_s=settings.timeout_s,
        max_retries=settings.max_retries,
        max_parallel=settings.max_parallel,
    )


def make_judge(
    source: JudgeSource, resolve: Callable[[str], Path | str], *, dtype: str = "float32", wording: Wording = OWN_WORDING
) -> Judge:
    """Make the judge that the settings name.

    Args:
        source: the settings of the judge.
        resolve: maps a stage, folder or Hub id to a folder or Hub id.
        dtype: the number type of a local model.
        wording: the question about pairs to a local model; an endpoint always gets preflab's own wording.
    """
    if source.endpoint is not None:
        return EndpointJudge(make_endpoint(source.endpoint))
    from preflab.labelers.local import LocalJudge
    from preflab.models.language_model import open_language_model
    from preflab.models.loading import best_device

    opened = open_language_model(resolve(str(source.model)), dtype=dtype, device=best_device())
    return LocalJudge(opened.model, opened.tokenizer, tie_width=source.tie_width, wording=wording)


def describe_judge(source: JudgeSource, judge: Judge) -> dict[str, Any]:
    """The settings in an AI labeler's record: model, address, version of the wording, sampling."""
    if source.endpoint is not None:
        settings = source.endpoint.model_dump(mode="json", include={"base_url", "model", "temperature", "max_tokens"})
        return {"question_version": VERSION, "asked": "endpoint", **settings}
    from preflab.labelers.local import LocalJudge
    from preflab.models.facts import weights_hash

    assert isinstance(judge, LocalJudge)
    weights = weights_hash(judge.trunk.models["policy"])
    return {
        "question_version": judge.wording.version,
        "asked": judge.asked,
        "weights": weights,
        "tie_width": source.tie_width,
    }
