"""preflab's sampling: rows with prompts of their own, every completion of full length, the full distribution."""

from __future__ import annotations

from gpu_common import emit, median_of, parser, peak_mib, profiled


def main() -> None:
    """The median of three calls, after one that chooses the pass and captures the steps."""
    args = parser(__doc__).parse_args()
    import torch
    from gpu_models import make_model
    from gpu_worlds import decoding, default_engine, make_engine, make_trunk, requests

    # Weights of this type, as the peer's: a stage that learns all weights would keep them in float32.
    model = make_model(args.model, getattr(torch, args.dtype), args.device)
    trunk = make_trunk(args.model, args.device, ("policy",), model=model)
    engine = make_engine(trunk, args.engine or default_engine())
    asked, how = requests(args.rows, 1, args.prompt), decoding(args.new, args.rows)
    seconds = median_of(lambda: engine.sample(asked, how), 3)
    if args.profile:
        profiled(lambda: engine.sample(asked, how))
    emit(seconds=seconds, tokens_per_s=args.rows * args.new / seconds, peak_mib=peak_mib(), engine=engine.decode_path)


if __name__ == "__main__":
    main()
