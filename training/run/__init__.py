"""Folder of a run: its record, its checkpoints, and what may be deleted of it."""
