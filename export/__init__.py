"""Export of Keras models to quantized .tflite files, and the proof that they agree."""

from keras_se.export.artifacts import Artifact as Artifact
from keras_se.export.artifacts import export as export
from keras_se.export.diagnosis import Diagnosis as Diagnosis
from keras_se.export.diagnosis import diagnose as diagnose
from keras_se.export.parity import Parity as Parity
from keras_se.export.parity import compare as compare
from keras_se.export.preflight import Finding as Finding
from keras_se.export.preflight import check as check
from keras_se.export.quantize_aware import quantize_aware as quantize_aware
from keras_se.export.recipes import RECIPES as RECIPES
