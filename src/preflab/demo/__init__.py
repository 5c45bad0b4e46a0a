"""The demo's data: customer questions of a shop, a grammar that generates answers, and their true utility."""
