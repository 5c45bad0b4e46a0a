"""The training loops, one file per algorithm, each written out in full: collect → score → advantages → update → log."""
