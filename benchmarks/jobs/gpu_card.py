"""The device's name, and what it reaches in a large copy and in a large matrix product."""

from __future__ import annotations

import sys

from gpu_common import emit, median_of, parser


def main() -> None:
    """Measures for about a second on a GPU."""
    args = parser(__doc__).parse_args()
    import torch

    on_gpu = args.device.startswith("cuda")
    if on_gpu and not torch.cuda.is_available():
        sys.exit("error: torch sees no CUDA device\n       --device cpu --model tiny tries the script without one")
    dtype = getattr(torch, args.dtype)
    numbers, side = (2**29, 8192) if on_gpu else (2**24, 512)
    source = torch.zeros(numbers, dtype=dtype, device=args.device)
    target = torch.empty_like(source)
    copied = median_of(lambda: target.copy_(source), 5)
    left = torch.randn(side, side, dtype=dtype, device=args.device)
    product = torch.empty_like(left)
    multiplied = median_of(lambda: torch.mm(left, left, out=product), 5)
    emit(
        name=torch.cuda.get_device_name() if on_gpu else "CPU",
        torch=torch.__version__,
        memory_gib=torch.cuda.get_device_properties(0).total_memory / 2**30 if on_gpu else None,
        bandwidth=2 * source.nbytes / copied,  # read once, written once
        operations=2 * side**3 / multiplied,
    )


if __name__ == "__main__":
    main()
