"""Did it work, and how sure are we: figures with intervals, paired over the same held-out prompts.

numpy and scipy alone; what needs a model (sampling, exact KL, scores) is handed in as arrays.
"""
