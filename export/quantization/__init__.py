"""Float file to quantized file: recipes, calibration, the quantizer. Imports the rooms up to runtimes."""
