"""The mathematics of preflab: pure functions on tensors.

Nothing here knows a model, a settings object or a logger; only torch is imported. Each file is one concept: `masks`
(reductions over the tokens the policy wrote), `bradley_terry` (preferences and their likelihood), `kl` (distance from
the reference and the three treatments whose gradient is right), `advantages` (generalised advantage estimation,
whitening) and `losses` (what PPO minimises). Shape legend: B sequences, T completion tokens, V vocabulary. A
`denominator` is always that of the whole optimiser step, over all micro-batches and processes: parts computed with it
add up to the whole, loss and gradient. Masked places may hold anything, NaN included.
"""
