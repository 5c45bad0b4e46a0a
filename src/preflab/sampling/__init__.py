"""Samples completions of prompts. Input: token ids; output: token ids, log-probabilities and finish reasons."""
