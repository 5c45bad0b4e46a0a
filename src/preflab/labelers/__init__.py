"""Labelers that are not people: AI judges and simulated labelers. The `kind` of their record says which."""
