"""Shared by the training loops: tensor batches, protocols, optimiser, state and resume, metrics, alarms."""
