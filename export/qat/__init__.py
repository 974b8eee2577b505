"""Quantization-aware training on Keras 3. Imports the rooms up to tfmot."""
