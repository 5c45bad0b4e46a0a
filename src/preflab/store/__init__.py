"""The workspace: one database for the records, frozen snapshots for training, import and export."""
