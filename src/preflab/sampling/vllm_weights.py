"""Hands the policy's weights to a vLLM server on the same machine, through files in shared memory.

All weights of a policy on a GPU go through the GPU's memory instead, if the server takes them (`vllm_transfer`).

Every version gets a folder and, with adapters, a name of its own. A name that is loaded again in place would keep the
prompts cached with its former weights (the cache is keyed by name and path), and vLLM 0.32 would read its files again
before every step of decoding. vLLM multiplies `lora_B` by alpha / rank in place when it loads an adapter, so it gets
each tensor once, from a file, and never a tensor that it has scaled before.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
import uuid
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

from preflab.errors import PreflabError
from preflab.sampling.vllm_client import VllmClient
from preflab.sampling.vllm_transfer import WeightTransfer
from preflab.training.tensor_files import system_errors

if TYPE_CHECKING:
    from preflab.sampling.engine_source import EngineSource

SHARED_MEMORY = Path("/dev/shm")
logger = logging.getLogger(__name__)


class ServedWeights:
    """The weights on the server: adapters on its base model, or all weights.

    Args:
        client: of the server.
        source: the policy.
        base: the name of the base model on the server.
    """

    def __init__(self, client: VllmClient, source: EngineSource, base: str) -> None:
        self.client, self.source, self.base = client, source, base
        self.model = base
        """The name under which the server has the policy."""
        self.run = uuid.uuid4().hex[:8]
        """Part of the names of versions, so that those of another run are never taken for this one's."""
        self.num_pushed = 0
        where = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else None
        self.folder = Path(tempfile.mkdtemp(prefix="preflab-vllm-", dir=where))
        self.transfer = WeightTransfer(client)
        self._way = ""
        self._cleanup = weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)

    @property
    def with_adapter(self) -> bool:
        """Whether the policy is an adapter on the server's base model."""
        return self.source.trunk is not None and self.source.trunk.lora is not None

    def name_of(self, version: int) -> str:
        """The name of a version for the server."""
        return f"preflab-{self.run}-version-{version}"

    def push(self, version: int) -> None:
        """Give the server the policy's current weights.

        Raises:
            PreflabError: the server refuses them, or the files cannot be written.
        """
        self.num_pushed += 1
        if not self.with_adapter and self.transfer.can_send(model := self.source.merged_model()):
            self._say("through the GPU's memory")
            self.transfer.send(model)
            return
        self._say(f"through files in {self.folder}")
        name = f"{self.name_of(version)}-{self.num_pushed}"
        folder = self.folder / name
        with system_errors(folder):
            folder.mkdir()
            self._write(folder)
        if self.with_adapter:
            self.client.load_adapter(name, str(folder))
        else:
            self.client.reload_weights(str(folder))
        self._forget_former(folder)
        self.model = name if self.with_adapter else self.base

    def _say(self, way: str) -> None:
        """Log how weights travel, whenever it changes: all weights as a warning, because commands show no less."""
        if way != self._way:
            level = logging.INFO if self.with_adapter else logging.WARNING
            logger.log(level, "%s gets the policy's weights %s", self.client.url, way)
            self._way = way

    def push_base(self) -> None:
        """Replace the server's base model by the policy's, whose adapter must not change anything yet."""
        folder = self.folder / "base"
        with system_errors(folder):
            self.source.merged_model().save_pretrained(folder)
        self.client.reload_weights(str(folder))

    def close(self) -> None:
        """Remove the files, and the adapter from the server."""
        if self.with_adapter and self.model != self.base:
            self.client.unload_adapter(self.model)
        self._cleanup()

    def _write(self, folder: Path) -> None:
        if not self.with_adapter:
            self.source.merged_model().save_pretrained(folder)
            return
        from safetensors.torch import save_file

        from preflab.models.adapters import adapter_state, saved_config

        trunk: Any = self.source.trunk
        state = {name: tensor.cpu().contiguous() for name, tensor in adapter_state(trunk.model, "policy").items()}
        save_file(state, folder / "adapter_model.safetensors")
        config = saved_config(trunk.model, "policy", trunk.targets["policy"])
        (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")

    def _forget_former(self, kept: Path) -> None:
        """Remove former versions, after the new one is loaded."""
        if self.with_adapter and self.model != self.base:
            self.client.unload_adapter(self.model)
        for former in self.folder.iterdir():
            if former != kept:
                shutil.rmtree(former, ignore_errors=True)


def check_can_be_served(source: EngineSource) -> None:
    """Check that vLLM can sample from a policy.

    Raises:
        PreflabError: an encoder–decoder, frequencies that depend on the length of a stage's rows, or several processes.
    """
    import torch

    config = source.model.config
    many = torch.distributed.is_available() and torch.distributed.is_initialized()
    if getattr(config, "is_encoder_decoder", False):
        found, expected = f"a {config.model_type} model, an encoder–decoder", "a decoder: vLLM serves no other"
    elif source.trunk is not None and source.trunk.row_lengths:
        found, expected = (
            "rotary frequencies that depend on the length of rows",
            "the same frequencies in server and trainer",
        )
    elif many and torch.distributed.get_world_size() > 1:
        found, expected = f"{torch.distributed.get_world_size()} processes with one server", "one process"
    else:
        return
    raise PreflabError(f"device.engine vllm with {found}", expected, "set device.engine to transformers")
