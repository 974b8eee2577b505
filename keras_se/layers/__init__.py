"""Layers for any model: squeeze-and-excitation, grouped convolution, the input of images."""
