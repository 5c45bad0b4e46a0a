"""Predicts the peak memory of a stage from a model's configuration, and chooses settings that fit into free memory.

model_sizes     a configuration → the sizes in the formulas; nothing is loaded
load            a stage's settings → what it holds at once
arithmetic      sizes and load → bytes, as documented formulas
remedies        settings that need less memory, each with its peak
free            free memory of this machine, within a container's limit
choices         `tokens_per_micro_batch: auto` and `gradient_checkpointing: auto`, chosen once per stage
"""
