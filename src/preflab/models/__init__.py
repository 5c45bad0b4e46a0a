"""Models: loading, the shared trunk and its roles, heads, chunked log-probabilities, export and checks."""
