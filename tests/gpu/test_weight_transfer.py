"""A tensor on a GPU is opened by another process at the place that `vllm_transfer.shared_memory` names."""

from __future__ import annotations

import base64
import pickle
import subprocess
import sys

import pytest
import torch

from preflab.sampling.vllm_transfer import shared_memory

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="processes share the memory of CUDA devices only"),
]

OPENS = """
import base64, pickle, sys, torch
from torch.multiprocessing.reductions import rebuild_cuda_tensor
handle = pickle.loads(base64.b64decode(sys.argv[1]))
arguments = list(handle[str(torch.cuda.get_device_properties(0).uuid)])
arguments[6] = 0  # the reader's own number of the device, which vLLM sets, too
print(rebuild_cuda_tensor(*arguments).double().sum().item())
"""


def test_another_process_reads_the_same_numbers() -> None:
    tensor = torch.arange(12, dtype=torch.float32, device="cuda:0").view(3, 4)
    handle = base64.b64encode(pickle.dumps(shared_memory(tensor))).decode("ascii")
    read = subprocess.run(
        [sys.executable, "-c", OPENS, handle], capture_output=True, text=True, check=False, timeout=120
    )
    assert read.returncode == 0, read.stderr
    assert float(read.stdout) == 66.0
