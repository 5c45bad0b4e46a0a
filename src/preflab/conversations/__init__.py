"""Convert messages to token ids and back with the model's chat template; only this room knows how turns end."""
