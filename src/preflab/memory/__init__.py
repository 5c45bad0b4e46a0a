"""Predicts the peak memory of a stage from a model's configuration, and chooses settings that fit into free memory.

model_sizes     a configuration → the sizes in the formulas; nothing is loaded
load            a stage's settings → what it holds at once
arithmetic      sizes and load → bytes, as documented formulas
activations     the part of the formulas about a micro-batch: what is alive, and the holes that freed memory leaves
decoding        the part about sampling: keys and values, and the buffers of captured decoding
sizes           the protocol of sizes that the formulas read
remedies        settings that need less memory, each with its peak
free            free memory of this machine, within a container's limit
choices         `tokens_per_micro_batch: auto` and `gradient_checkpointing: auto`, chosen once per stage
"""
