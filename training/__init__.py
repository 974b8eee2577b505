"""Training of SE networks with `model.fit` under tf.distribute."""

from keras_se.training.distributed_model import distributed as distributed
from keras_se.training.loop import train as train
from keras_se.training.recipes import PRESETS as PRESETS
from keras_se.training.recipes import Recipe as Recipe
from keras_se.training.run_folder import Run as Run
