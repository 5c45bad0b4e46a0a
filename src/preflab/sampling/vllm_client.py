"""HTTP client of a vLLM server (0.32 and later): token ids in, token ids out.

Routes used: `/inference/v1/generate` samples and scores prompts (`--enable-scale-out`), `/v1/models` and `/version`
describe the server, `/v1/load_lora_adapter` and `/v1/unload_lora_adapter` change adapters. `/collective_rpc`,
`/reset_prefix_cache`, `/update_weight_version`, `/sleep` and `/wake_up` exist in development mode only.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from preflab.errors import PreflabError

ATTEMPTS = 3
"""Attempts at a call if the connection breaks. A request has its own seed, so a repeated call changes nothing."""

NO_LOGP = -9999.0
"""vLLM writes this where a log-probability is NaN or missing."""

START = (
    "start it in another terminal with `preflab serve-engine MODEL`, MODEL being the run's starting model, and set "
    "device.vllm.url to its address (http://127.0.0.1:PORT)"
)


@dataclass(frozen=True)
class Answer:
    """The completion that the server sampled for one request."""

    token_ids: tuple[int, ...]
    logps: tuple[float, ...]
    finish_reason: str
    model: str
    versions: tuple[str, ...]
    """The versions of the weights that wrote the tokens, as the server reports them; () if it does not."""
    kept: list[list[int]] | None
    """Per token the ids that could have been drawn, from a server with sampling masks."""


class VllmClient:
    """Calls one server; safe to use from several threads."""

    def __init__(self, url: str, timeout_s: float, *, num_connections: int = 1024) -> None:
        self.url = url
        limits = httpx.Limits(max_connections=num_connections, max_keepalive_connections=num_connections)
        self.http = httpx.Client(base_url=url, timeout=timeout_s, limits=limits, trust_env=False)
        weakref.finalize(self, self.http.close)

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        """One call, repeated if the connection breaks.

        Raises:
            PreflabError: there is no server at the address, or it does not answer in time.
        """
        trouble = ""
        for _ in range(ATTEMPTS):
            try:
                return self.http.request(method, path, json=body)
            except httpx.TimeoutException as error:
                trouble = f"no answer within {self.http.timeout.read} s ({type(error).__name__})"
                break
            except httpx.HTTPError as error:
                trouble = str(error) or type(error).__name__
        raise PreflabError(f"{self.url}{path}: {trouble}", "a vLLM server at this address", START)

    def post(self, path: str, body: dict[str, Any] | None, do: str) -> httpx.Response:
        """A call that must succeed; `do` is the advice if the server refuses it.

        Raises:
            PreflabError: the server refused the call.
        """
        answer = self.call("POST", path, body)
        if answer.status_code != 200:
            raise PreflabError(
                f"{self.url}{path} refused with status {answer.status_code}: {error_text(answer)}", "status 200", do
            )
        return answer

    def served(self) -> dict[str, Any]:
        """The base model that is served: `id` and `max_model_len`.

        Raises:
            PreflabError: what answers at the address is no vLLM server.
        """
        answer = self.call("GET", "/v1/models")
        try:
            card: dict[str, Any] = answer.json()["data"][0]
            return {"id": str(card["id"]), "max_model_len": int(card["max_model_len"])}
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise PreflabError(
                f"{self.url}/v1/models answers {answer.text[:120]!r}", "the list of models of a vLLM server", START
            ) from error

    @property
    def reports_versions(self) -> bool:
        """Whether the server keeps a version of its weights: it runs in development mode."""
        return self.call("GET", "/weight_info").status_code == 200

    def load_adapter(self, name: str, folder: str) -> None:
        """Load an adapter in peft's file format under a new name."""
        self.post(
            "/v1/load_lora_adapter",
            {"lora_name": name, "lora_path": folder},
            "start the server with `preflab serve-engine MODEL --lora-rank RANK`, RANK at least lora.rank; if a layer "
            "is not supported, choose lora.target_modules that vLLM supports, or engine: transformers",
        )

    def unload_adapter(self, name: str) -> None:
        """Forget an adapter; one that is not loaded is ignored."""
        self.call("POST", "/v1/unload_lora_adapter", {"lora_name": name})

    def reload_weights(self, folder: str) -> None:
        """Replace the weights by those of a model folder, and forget cached prompts."""
        development = "start the server with `preflab serve-engine MODEL`, which enables this route"
        kwargs = {"weights_path": folder}
        self.post("/collective_rpc", {"method": "reload_weights", "kwargs": kwargs}, development)
        self.post("/reset_prefix_cache", None, development)

    def name_version(self, version: str) -> None:
        """Name the version of the weights, which the server reports with every completion from now on."""
        self.post("/update_weight_version", {"new_version": version}, START)

    def sample(self, model: str, prompt_ids: Sequence[int], parameters: dict[str, Any]) -> Answer:
        """One completion of a prompt.

        Raises:
            PreflabError: the server refused the request, or its answer has another form or is not a number.
        """
        choice, answered = self._generate(model, prompt_ids, {**parameters, "logprobs": 0})
        try:
            content = choice["logprobs"]["content"]
            answer = Answer(
                tuple(int(token) for token in choice["token_ids"]),
                tuple(float(one["logprob"]) for one in content),
                str(choice["finish_reason"]),
                str(answered["model"]),
                tuple(str(span["version"]) for span in choice.get("weight_versions") or ()),
                choice.get("sampling_mask"),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise _other_form(self.url, answered) from error
        if len(answer.logps) != len(answer.token_ids) or min(answer.logps, default=0.0) <= NO_LOGP:
            raise PreflabError(
                f"{self.url}: {len(answer.logps)} log-probabilities for {len(answer.token_ids)} tokens, the lowest is "
                f"{min(answer.logps, default=0.0)}",
                "one finite log-probability per token",
                "check the server's weights and log: values that are not numbers mean a diverged or half-loaded model",
            )
        return answer

    def prompt_logps(self, model: str, token_ids: Sequence[int]) -> list[float]:
        """Log-probabilities of all tokens of a sequence but the first, at temperature 1, without truncation."""
        parameters = {"max_tokens": 1, "top_k": 1, "seed": 0, "prompt_logprobs": 0, "detokenize": False}
        _, answered = self._generate(model, token_ids, parameters)
        try:
            rows = answered["prompt_logprobs"][1:]
            return [float(row[str(token)]["logprob"]) for row, token in zip(rows, token_ids[1:], strict=True)]
        except (KeyError, TypeError, ValueError) as error:
            raise _other_form(self.url, answered) from error

    def _generate(
        self, model: str, token_ids: Sequence[int], parameters: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        body = {"model": model, "token_ids": list(token_ids), "sampling_params": parameters}
        answer = self.post("/inference/v1/generate", body, ADVICE)
        try:
            content = answer.json()
            return content["choices"][0], content
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise _other_form(self.url, answer.text) from error


ADVICE = (
    "correct what the server says; its route for token ids needs --enable-scale-out, which `preflab serve-engine` "
    "sets, and a server with --sampling-masks needs top_k above 0 in every request"
)


def _other_form(url: str, answered: object) -> PreflabError:
    return PreflabError(
        f"{url}/inference/v1/generate answers {str(answered)[:160]!r}",
        "vLLM's answer with token ids and log-probabilities",
        "use a version of vLLM that `preflab serve-engine --install` installs",
    )


def error_text(answer: httpx.Response) -> str:
    """The server's error message on one line, at most 300 characters."""
    try:
        body = answer.json()
        error = body.get("error")
        text = str(error["message"] if isinstance(error, dict) else body)
    except (ValueError, KeyError, AttributeError):
        text = answer.text
    return " ".join(text.split())[:300] or "(no message)"
