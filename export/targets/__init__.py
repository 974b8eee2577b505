"""One module for each device: what it takes, its limits, how its file is made. Imports the rooms up to quantization."""
