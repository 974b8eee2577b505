"""Networks of one convolution on images of 8 pixels, behind layers that scale pixels or do not."""

import keras
from keras import layers

SIDE = 8


def conv():
    return layers.Conv2D(4, 3)


def network(*behind, side=SIDE, channels=3):
    return keras.Sequential([keras.Input((side, side, channels)), *behind])
