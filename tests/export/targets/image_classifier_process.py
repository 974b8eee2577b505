"""Run in MediaPipe's own environment: `{file: scores of each image | error}` of the JSON `[files, images]`."""

import json
import sys

import mediapipe
from mediapipe.tasks.python import BaseOptions, vision


def scores(file: str, images: list[str]) -> list[dict[str, float]]:
    options = vision.ImageClassifierOptions(base_options=BaseOptions(model_asset_path=file))
    with vision.ImageClassifier.create_from_options(options) as classifier:
        results = [classifier.classify(mediapipe.Image.create_from_file(image)) for image in images]
    return [
        {
            category.category_name or str(category.index): category.score
            for category in result.classifications[0].categories
        }
        for result in results
    ]


def scores_or_error(file: str, images: list[str]):
    try:
        return scores(file, images)
    except (NotImplementedError, RuntimeError, ValueError) as error:
        return str(error)


files, images = json.load(sys.stdin)
print(json.dumps({file: scores_or_error(file, images) for file in files}))
