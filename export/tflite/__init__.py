"""Files in the .tflite format: read, verified, changed. Imports sandbox; no Keras."""
