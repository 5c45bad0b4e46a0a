"""The mathematics of preflab: pure functions on tensors.

The functions use no model, settings object or logger; only torch is imported. Each file is one concept, such as `masks`
(reductions over the tokens the policy wrote), `bradley_terry` (preferences and their likelihood), `kl` (distance from
the reference and the three treatments with the correct gradient), `advantages` (generalised advantage estimation,
whitening) and `losses` (the losses of PPO). Shapes: B sequences, T completion tokens, V vocabulary. A
`denominator` is always that of the whole optimiser step, over all micro-batches and processes, so losses and gradients
of parts add up to those of the step. Masked positions may hold any value, NaN included.
"""
