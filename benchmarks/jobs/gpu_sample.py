"""preflab's sampling: rows with prompts of their own, every completion of full length, the full distribution."""

from __future__ import annotations

from gpu_common import emit, median_of, parser, peak_mib, profiled


def main() -> None:
    """The median of three calls, after one that chooses the pass and captures the steps."""
    args = parser(__doc__).parse_args()
    from gpu_worlds import decoding, default_engine, make_engine, make_trunk, requests

    from preflab.settings.learning import LoraSettings

    engine_name = args.engine or default_engine()
    trunk = make_trunk(
        args.model, args.device, ("policy",), precision=args.dtype, lora=LoraSettings() if args.lora else None
    )
    engine = make_engine(trunk, engine_name)
    asked, how = requests(args.rows, 1, args.prompt), decoding(args.new, args.rows)
    seconds = median_of(lambda: engine.sample(asked, how), 3)
    if args.profile:
        profiled(lambda: engine.sample(asked, how))
    emit(seconds=seconds, tokens_per_s=args.rows * args.new / seconds, peak_mib=peak_mib(), engine=engine.decode_path)


if __name__ == "__main__":
    main()
