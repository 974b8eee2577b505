"""The .tflite file itself: read, verified, changed. Imports sandbox; no Keras."""
