"""Tokens per second of preflab's decode loop: 64 prompts of 16 tokens, 64 new tokens each, the full distribution.

The same job as the peers' hf_generate.py: no stop token, so that every completion has all its tokens.
"""

from __future__ import annotations

import statistics
import time

from common import emit, parse, parser

NUM_ROWS, NUM_PROMPT_TOKENS, NUM_NEW_TOKENS, NUM_REPEATS = 64, 16, 64, 4


def main() -> None:
    """The median rate of a few repetitions in one process."""
    args = parse(parser(__doc__))
    import torch
    from transformers import AutoModelForCausalLM

    from preflab.sampling.engine import TransformersEngine
    from preflab.settings.sampling import DecodingSettings
    from preflab.training.protocols import SampleRequest

    model = AutoModelForCausalLM.from_pretrained(args.root / "rand15m", dtype=torch.float32)
    engine = TransformersEngine(model, pad_id=0, stop_token_ids=())
    prompts = torch.randint(3, 500, (NUM_ROWS, NUM_PROMPT_TOKENS)).tolist()
    decoding = DecodingSettings(max_new_tokens=NUM_NEW_TOKENS, max_batch_rows=NUM_ROWS)
    rates = []
    for repeat in range(NUM_REPEATS):
        requests = [SampleRequest(tuple(ids), seed=NUM_ROWS * repeat + row) for row, ids in enumerate(prompts)]
        start = time.perf_counter()
        completions = engine.sample(requests, decoding)
        rates.append(sum(len(one.token_ids) for one in completions) / (time.perf_counter() - start))
    emit(job="preflab-sample", tokens_per_s=round(statistics.median(rates)))


if __name__ == "__main__":
    main()
