"""What the learning loops share: tensor batches, protocols, optimiser, state and resume, metrics, alarms."""
