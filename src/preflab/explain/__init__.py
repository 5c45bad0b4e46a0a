"""Simulator, replay and dial: what a run did, and what another reward or KL penalty would have done, from its records.

Everything here is computed from samples, scores and log-probabilities that real models gave.
"""
