"""A stand-in for vLLM servers: the same routes and JSON (0.32 and 0.33), a transformers model behind them.

    python tests/vllm_stand_in.py FOLDER

It prints its port and serves until it is killed. The first part of a path chooses a server of its own, `/NAME` or
`/NAME+OPTION…`, so that one process serves many tests. Options: `bfloat16`, `masks` (`--sampling-masks`), `production`
(no development mode), `transfer` (`--weight-transfer`; a handle has the numbers themselves), and the ways in which
servers have been wrong: `stale` ignores every update but the first, `empty` loads adapters as zeros, `twice` scales
them by alpha / rank once more.
"""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

CONTEXT = 64
TRANSFER = {
    "/init_weight_transfer_engine": None,
    "/start_weight_update": None,
    "/update_weights": "/start_weight_update",
    "/finish_weight_update": "/update_weights",
}
"""Route of a weight transfer → the route that must have been called before it; None: any."""


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The address of a stand-in that serves the model in a folder from another process, until the block ends."""
    command = [sys.executable, __file__, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = process.stdout.readline().strip()
            assert port.isdigit(), f"the stand-in did not start: {port!r}"
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


class Refused(Exception):
    """A request that the server answers with an error status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Served:
    """The base model, its adapters (merged copies) and the version of the weights."""

    def __init__(self, folder: Path, options: set[str]) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        self.name, self.options = str(folder), options
        self.masks, self.develops = "masks" in options, "production" not in options
        self.dtype = torch.bfloat16 if "bfloat16" in options else torch.float32
        self.base = AutoModelForCausalLM.from_pretrained(folder, dtype=self.dtype).eval()
        self.adapters: dict[str, Any] = {}
        self.first: Any = None
        self.version = "default"
        self.num_reloads = 0
        self.sleeps = False
        self.received: list[str] = []  # the calls of weight transfers

    def receive(self, info: dict[str, Any]) -> None:
        """Take the weights of a transfer, as vLLM's backend `ipc` does."""
        import base64
        import pickle

        import torch

        handles = pickle.loads(base64.b64decode(info["ipc_handles_pickled"]))
        if not len(handles) == len(info["names"]) == len(info["shapes"]) == len(info["dtype_names"]):
            raise Refused(400, "`ipc_handles` should be of the same size as `names`")
        state = {}
        for name, kind, shape, handle in zip(info["names"], info["dtype_names"], info["shapes"], handles, strict=True):
            (numbers,) = handle["GPU-0"]
            state[name] = torch.frombuffer(bytearray(numbers), dtype=getattr(torch, kind)).view(shape)
        missing, unknown = self.base.load_state_dict(state, strict=False)
        if unknown or set(missing) - {"lm_head.weight"}:
            raise Refused(400, f"unknown {unknown}, missing {missing}")

    def load_adapter(self, body: dict[str, Any]) -> str:
        from safetensors.torch import load_file

        name, folder = body["lora_name"], Path(body["lora_path"])
        if name in self.adapters and not body.get("load_inplace"):
            raise Refused(400, f"The lora adapter '{name}' has already been loaded.")
        if not (folder / "adapter_config.json").exists():
            raise Refused(404, f"Loading lora {name} failed: No adapter found for {folder}")
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        state = load_file(folder / "adapter_model.safetensors")
        scale = config["lora_alpha"] / config["r"]
        if "stale" in self.options and self.first is not None:
            self.adapters[name] = self.first
            return f"Success: LoRA adapter '{name}' added successfully."
        scale = 0.0 if "empty" in self.options else scale * scale if "twice" in self.options else scale
        model = copy.deepcopy(self.base)
        for key, a in state.items():
            if ".lora_A." not in key:
                continue
            b = state[key.replace(".lora_A.", ".lora_B.")]
            layer = model.get_submodule(key.removeprefix("base_model.model.").removesuffix(".lora_A.weight"))
            layer.weight.data += (scale * (b.float() @ a.float())).to(self.dtype)
        self.adapters[name] = self.first = model
        return f"Success: LoRA adapter '{name}' added successfully."

    def reload(self, folder: str) -> None:
        from transformers import AutoModelForCausalLM

        self.num_reloads += 1
        if "stale" in self.options and self.num_reloads > 1:
            return
        self.base = AutoModelForCausalLM.from_pretrained(folder, dtype=self.dtype).eval()

    def model(self, name: str | None) -> Any:
        if name in (None, self.name):
            return self.base
        if name not in self.adapters:
            raise Refused(404, f"The model `{name}` does not exist.")
        return self.adapters[name]

    def generate(self, body: dict[str, Any]) -> dict[str, Any]:
        import torch

        if self.sleeps:
            raise Refused(503, "the engine is sleeping")
        model, ids, how = self.model(body.get("model")), list(body["token_ids"]), body["sampling_params"]
        if self.masks and how.get("top_k", 0) <= 0:
            raise Refused(400, "sampling distribution replay requires top_k > 0 to bound sampling mask size")
        prompt_logprobs = None
        if how.get("prompt_logprobs") is not None:
            with torch.no_grad():
                rows = model(input_ids=torch.tensor([ids])).logits[0].float().log_softmax(-1)
            prompt_logprobs = [None] + [
                {str(token): {"logprob": rows[place, token].item(), "rank": 1, "decoded_token": None}}
                for place, token in enumerate(ids[1:])
            ]
        tokens, content, kept, reason = sample(model, ids, how)
        choice = {
            "index": 0,
            "finish_reason": reason,
            "stop_reason": None,
            "token_ids": tokens,
            "routed_experts": None,
            "sampling_mask": kept if self.masks else None,
            "weight_versions": [{"version": self.version, "start": 0, "end": len(tokens)}] if self.develops else None,
            "logprobs": {"content": content},
        }
        return {
            "request_id": "generate-tokens-0",
            "model": body.get("model") or self.name,
            "prompt_logprobs": prompt_logprobs,
            "choices": [choice],
        }


def sample(model: Any, ids: list[int], how: dict[str, Any]) -> tuple[list[int], list[Any], list[list[int]], str]:
    """Tokens, their log-probabilities after truncation, the kept ids of each, and why it ended."""
    import torch

    ids, tokens, content, masks = list(ids), [], [], []
    generator = torch.Generator().manual_seed(how.get("seed", 0))
    for _ in range(min(how["max_tokens"], CONTEXT - len(ids))):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids])).logits[0, -1].float()
        for token, bias in (how.get("logit_bias") or {}).items():
            logits[int(token)] += bias
        logits = keep_likeliest(logits / (how.get("temperature", 1.0) or 1e-6), how)
        logps = logits.log_softmax(-1)
        token = int(torch.multinomial(logps.exp(), 1, generator=generator))
        ids.append(token)
        tokens.append(token)
        entry = {"token_id": token, "logprob": logps[token].item(), "rank": 1}
        content.append({**entry, "top_logprobs": [entry]})
        masks.append(torch.isfinite(logps).nonzero()[:, 0].tolist())
        if token in how.get("stop_token_ids", ()):
            return tokens, content, masks, "stop"
    return tokens, content, masks, "length"


def keep_likeliest(logits: Any, how: dict[str, Any]) -> Any:
    """Logits with −inf for the tokens that top-k and top-p drop."""
    import torch

    order = logits.argsort(descending=True)
    kept = torch.zeros_like(logits, dtype=torch.bool)
    num = how.get("top_k", 0) or len(logits)
    kept[order[:num]] = True
    shares = logits.masked_fill(~kept, -torch.inf).softmax(-1)[order]
    kept[order[shares.cumsum(-1) - shares >= how.get("top_p", 1.0)]] = False
    return logits.masked_fill(~kept, -torch.inf)


class Handler(BaseHTTPRequestHandler):
    """The routes of vLLM that the engine calls."""

    folder: Path
    servers: dict[str, Served] = {}  # noqa: RUF012
    lock = threading.Lock()
    protocol_version = "HTTP/1.1"

    def _open(self) -> tuple[Served, str]:
        """The server that the path chooses, and the route."""
        _, name, route = self.path.split("/", 2)
        if name not in self.servers:
            self.servers[name] = Served(self.folder, set(name.split("+")[1:]))
        return self.servers[name], f"/{route}"

    def do_GET(self) -> None:
        with self.lock:
            served, route = self._open()
        cards = [{"id": served.name, "object": "model", "max_model_len": CONTEXT}]
        cards += [{"id": name, "object": "model", "max_model_len": None} for name in served.adapters]
        if route == "/health":
            self._answer(200, None)
        elif route == "/v1/models":
            self._answer(200, {"object": "list", "data": cards})
        elif route == "/weight_info" and served.develops:
            self._answer(200, {"weight_version": served.version})
        else:
            self._answer(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))) or "null")
        try:
            with self.lock:
                served, route = self._open()
                self._answer(200, result(served, route, body))
        except Refused as error:
            self._answer(error.status, {"error": {"message": str(error), "type": "BadRequestError"}})

    def _answer(self, status: int, content: Any) -> None:
        text = b"" if content is None else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


def result(served: Served, route: str, body: Any) -> Any:
    """What a route answers.

    Raises:
        Refused: the request is refused, or there is no such route.
    """
    if route in ("/wake_up", "/sleep?level=1") and served.develops:
        served.sleeps = route != "/wake_up"
        return {"status": "sleeping" if served.sleeps else "awake"}
    if route == "/inference/v1/generate":
        return served.generate(body)
    if route == "/v1/load_lora_adapter":
        return served.load_adapter(body)
    if route == "/v1/unload_lora_adapter":
        served.adapters.pop(body["lora_name"], None)
        return f"Success: LoRA adapter '{body['lora_name']}' removed successfully."
    if route == "/update_weight_version" and served.develops:
        served.version = body["new_version"]
        return {"success": True, "new_version": served.version}
    if route == "/collective_rpc" and served.develops:
        served.reload(body["kwargs"]["weights_path"])
        return {"results": [None]}
    if route in TRANSFER and "transfer" in served.options:
        served.received.append(route)
        if TRANSFER[route] not in (None, *served.received[-2:-1]):
            raise Refused(500, f"{route} after {served.received[-2:-1]}")
        if served.received[-2:] == ["/start_weight_update"] * 2:
            raise Refused(500, "start_weight_update called while a weight update is already active")
        if route == "/update_weights":
            served.receive(body["update_info"])
        return {"message": "done"}
    if route == "/reset_prefix_cache" and served.develops:
        return {"success": True}
    raise Refused(404, "Not Found")


def main() -> None:
    """Serve until killed."""
    import torch

    torch.set_num_threads(1)
    Handler.folder = Path(sys.argv[1])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
