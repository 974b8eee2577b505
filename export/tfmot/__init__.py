"""Quantization-aware training, pruning and clustering through tf_keras. Imports the rooms up to targets."""
