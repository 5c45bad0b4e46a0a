"""Copies between host and device that do not make the host wait for the device."""

from __future__ import annotations

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device | str) -> Tensor:
    """The tensor on a device. From the CPU to a GPU it is copied from pinned memory.

    Such a copy is queued like a kernel. A copy from ordinary memory waits until the device has done all queued work.
    """
    device = torch.device(device)
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=device.type == "cuda")
