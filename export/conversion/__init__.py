"""Keras model to float file: the network lowered for a target, and converted. Imports sandbox and tflite."""
