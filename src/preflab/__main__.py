"""`python -m preflab` is the command `preflab`."""

from __future__ import annotations

from preflab.cli import main

if __name__ == "__main__":
    main()
