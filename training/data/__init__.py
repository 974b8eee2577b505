"""From folders and datasets to batches on each worker."""
