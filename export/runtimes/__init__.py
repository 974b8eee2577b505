"""One module for each runtime that runs a file. Imports sandbox and tflite; only keras_model imports Keras."""
