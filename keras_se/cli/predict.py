"""Command `keras-se predict`: a model or a file and images in, their classes out."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from tyro.conf import Positional

from keras_se.cli.classifiers import ClassifierOptions
from keras_se.cli.tables import Rows
from keras_se.errors import InputError


@dataclass(frozen=True)
class Predict(ClassifierOptions):
    """Name the most probable classes of images, by a model or a .tflite file."""

    example: ClassVar[str] = "keras-se predict run photograph.jpg --top 3"

    model: Positional[Path]
    """Folder of a run, a .keras file, or a .tflite file."""
    images: Positional[tuple[Path, ...]]
    """Image files of any size, and folders of them."""
    top: int = 5
    """Classes to show of each image."""

    def run(self) -> Rows:
        from keras_se.training import predict
        from keras_se.training.prediction import check_image, images_in

        if self.top < 1:
            raise InputError(f"top must be at least 1; got {self.top}")
        paths = images_in(self.images)
        if self.skip_corrupt:
            paths = [path for path in paths if _readable(path, check_image)]
        predictions = predict(self.classifier(self.model), paths, top=self.top)
        return Rows(
            document=[
                {"image": str(path), "classes": [{"name": name, "score": score} for name, score in classes]}
                for path, classes in zip(paths, predictions, strict=True)
            ],
            columns=("image", "class", "score"),
            cells=[
                (_short(path) if place == 0 else "", name[:40], f"{score:.4f}")
                for path, classes in zip(paths, predictions, strict=True)
                for place, (name, score) in enumerate(classes)
            ],
        )


def _readable(path: Path, check) -> bool:
    try:
        check(path)
    except InputError as error:
        print(f"keras-se: left out: {error}", file=sys.stderr)
        return False
    return True


def _short(path: Path) -> str:
    name = str(path)
    return name if len(name) <= 28 else f"…{name[-27:]}"
