"""Training of SE networks with `model.fit` under tf.distribute."""

from keras_se.training.distribution.model import distributed as distributed
from keras_se.training.evaluation import Evaluation as Evaluation
from keras_se.training.evaluation import evaluate as evaluate
from keras_se.training.prediction import predict as predict
from keras_se.training.recipes import PRESETS as PRESETS
from keras_se.training.recipes import Recipe as Recipe
from keras_se.training.run.run_folder import Run as Run
from keras_se.training.trainer import train as train
