"""Messages ↔ token ids by the model's own chat template: the only place that knows how a turn ends."""
