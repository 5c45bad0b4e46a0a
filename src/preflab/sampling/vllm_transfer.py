"""Hands all weights of a policy on a GPU to a vLLM server on the same GPU, which reads them where they are (CUDA IPC).

Nothing is copied through main memory. The routes are those of vLLM's weight transfer with the backend `ipc`:

    POST /init_weight_transfer_engine   once; refused by a server without `--weight-transfer-config`
    POST /start_weight_update
    POST /update_weights                names, types, shapes, and where each tensor is, pickled
    POST /finish_weight_update          vLLM has read everything

vLLM's own client for these routes is part of its package, whose versions of torch and transformers differ from
preflab's, so the calls are made here.
"""

from __future__ import annotations

import base64
import pickle
from typing import Any

import torch
from torch import Tensor

from preflab.sampling.vllm_client import VllmClient

ADVICE = "see the server's log; without `--weight-transfer` the weights are sent through files instead"
BEGUN = "start the server again if an earlier run ended in the middle of an update; " + ADVICE


class WeightTransfer:
    """The transfer of a run's weights to one server."""

    def __init__(self, client: VllmClient) -> None:
        self.client = client
        self._offered: bool | None = None

    def can_send(self, model: Any) -> bool:
        """Whether the model's weights are on a GPU and the server takes them there; the server is asked once."""
        if not on_gpu(model):
            return False
        if self._offered is None:
            answer = self.client.call("POST", "/init_weight_transfer_engine", {"init_info": {"packed": False}})
            self._offered = answer.status_code == 200
        return self._offered

    def send(self, model: Any) -> None:
        """Give the server the weights of a plain model, under the names that its checkpoint has.

        This function holds the tensors until the server has finished: a handle does not keep their memory reserved.

        Raises:
            PreflabError: the server refuses them.
        """
        weights = {name: tensor.detach().contiguous() for name, tensor in checkpoint_tensors(model).items()}
        handles = [shared_memory(tensor) for tensor in weights.values()]
        self.client.post("/start_weight_update", None, BEGUN)
        self.client.post(
            "/update_weights",
            {
                "update_info": {
                    "names": list(weights),
                    "dtype_names": [str(tensor.dtype).removeprefix("torch.") for tensor in weights.values()],
                    "shapes": [list(tensor.shape) for tensor in weights.values()],
                    "ipc_handles_pickled": base64.b64encode(pickle.dumps(handles)).decode("ascii"),
                }
            },
            ADVICE,
        )
        self.client.post("/finish_weight_update", None, ADVICE)
        self.client.post("/reset_prefix_cache", None, ADVICE)
        if torch.cuda.is_available():
            torch.cuda.ipc_collect()


def on_gpu(model: Any) -> bool:
    """Whether all weights of a model are on a CUDA device."""
    return all(parameter.is_cuda for parameter in model.parameters())


def checkpoint_tensors(model: Any) -> dict[str, Tensor]:
    """The tensors that `save_pretrained` would write, by the names in the file; tied weights once."""
    from transformers.core_model_loading import revert_weight_conversion
    from transformers.modeling_utils import remove_tied_weights_from_state_dict

    state = remove_tied_weights_from_state_dict(dict(model.state_dict()), model)
    for name in model._keys_to_ignore_on_save or ():
        state.pop(name, None)
    tensors: dict[str, Tensor] = revert_weight_conversion(model, state)
    return tensors


def shared_memory(tensor: Tensor) -> dict[str, tuple[Any, ...]]:
    """Where a tensor is: the UUID of its GPU → the arguments from which another process opens it."""
    from torch.multiprocessing.reductions import reduce_tensor

    _, arguments = reduce_tensor(tensor)
    return {str(torch.cuda.get_device_properties(tensor.device).uuid): arguments}
