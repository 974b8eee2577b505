"""Classifier that a command is asked about: a `.keras` file, the folder of a run, or a .tflite file.

It joins what training and export each know of.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from keras_se.cli.image_options import ImageOptions
from keras_se.errors import InputError

if TYPE_CHECKING:
    from keras_se.classifier import Classifier


@dataclass(frozen=True, kw_only=True)
class ClassifierOptions(ImageOptions):
    """Options of the commands that ask a classifier."""

    engine: str = "litert"
    """Runtime of a .tflite file: litert (XNNPACK), litert_reference, tflm or openvino."""

    def classifier(self, path: Path) -> "Classifier":
        """Return the classifier in a file or a folder.

        Raises:
            InputError: there is none, or nothing says what it takes for a pixel.
        """
        from keras_se.classifier import classifier_of

        fields = self.preprocessing_fields
        if path.suffix == ".tflite":
            return self._of_file(path, fields)
        if not path.exists():
            raise InputError(f"there is no {path}; give a .keras file, the folder of a run or a .tflite file")
        classifier = classifier_of(path)
        if fields:
            preprocessing = dataclasses.replace(classifier.preprocessing, **fields)
            return dataclasses.replace(classifier, preprocessing=preprocessing)
        return classifier

    def _of_file(self, path: Path, fields: dict) -> "Classifier":
        from keras_se.export import load_classifier
        from keras_se.export.manifest import preprocessing_of_file
        from keras_se.export.tflite.model import TFLiteModel

        if not fields:
            return load_classifier(path, engine=self.engine)
        TFLiteModel.load(path)  # so that a damaged one is named
        preprocessing = dataclasses.replace(preprocessing_of_file(path), **fields)
        return load_classifier(path, engine=self.engine, preprocessing=preprocessing)
