"""Folders and datasets in, batches on each worker out."""
