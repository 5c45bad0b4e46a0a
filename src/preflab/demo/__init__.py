"""The world of the demo: a shop's customer questions, a grammar that writes the answers, and their true utility."""
