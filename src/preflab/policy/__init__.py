"""The learning loops, one file each, every one written out: collect → score → advantages → update → log."""
