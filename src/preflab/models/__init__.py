"""Models: loading, the shared trunk with its roles, heads, chunked log-probabilities, export, checks."""
