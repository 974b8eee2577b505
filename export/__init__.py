"""Export of Keras models to quantized .tflite files, and the proof that they agree."""

from keras_se.export.artifacts import Artifact as Artifact
from keras_se.export.compatibility.checker import Finding as Finding
from keras_se.export.compatibility.checker import check as check
from keras_se.export.evaluation.benchmark import Bench as Bench
from keras_se.export.evaluation.benchmark import benchmark as benchmark
from keras_se.export.evaluation.classifier import load_classifier as load_classifier
from keras_se.export.evaluation.layer_errors import Diagnosis as Diagnosis
from keras_se.export.evaluation.layer_errors import diagnose as diagnose
from keras_se.export.evaluation.parity import Parity as Parity
from keras_se.export.evaluation.parity import compare as compare
from keras_se.export.evaluation.parity import compare_all as compare_all
from keras_se.export.exporter import export as export
from keras_se.export.mixed_precision import export_mixed_precision as export_mixed_precision
from keras_se.export.precision_search import Search as Search
from keras_se.export.qat.rewriting import quantize_aware as quantize_aware
from keras_se.export.quantization.recipes import RECIPES as RECIPES
from keras_se.export.targets.registry import TARGETS as TARGETS
from keras_se.export.tflite.score_calibration import ScoreCalibration as ScoreCalibration
from keras_se.export.tflite.score_calibration import fit_scores as fit_scores
