"""Parts of a batch that each worker reads."""

import numpy as np
import pytest

from keras_se.training.data.input_pipeline import (
    Share,
)
from numbered_images import evaluation, numbered, take, training


@pytest.mark.parametrize("batches", [1, 2, 3, 7])
def test_a_stream_goes_on_where_it_was_left(batches):
    """Seven images, four a batch: in the middle of a pass over them, and at its end."""
    split = numbered(7)
    images, classes = take(training(split, augmentation="shift_flip"), batches + 3)
    rest = training(split, augmentation="shift_flip", start=4 * batches)
    np.testing.assert_array_equal(take(rest, 3)[0], images[batches:])
    np.testing.assert_array_equal(take(rest, 3)[1], classes[batches:])


@pytest.mark.parametrize(("workers", "pieces"), [(2, 1), (2, 2), (4, 1)])
def test_workers_read_the_parts_of_each_batch_in_their_order(workers, pieces):
    split = numbered(7)
    images, _ = take(training(split, augmentation="shift_flip", start=4), 3)
    shares = [Share(worker, workers, pieces) for worker in range(workers)]
    parts = [take(training(split, augmentation="shift_flip", start=4, share=share), 3 * pieces)[0] for share in shares]
    each = [part.reshape(3, 4 // workers, *part.shape[2:]) for part in parts]
    np.testing.assert_array_equal(np.concatenate(each, axis=1), images)


def test_workers_evaluate_every_image_once():
    split = numbered(7)
    shares = [Share(worker, 2) for worker in range(2)]
    parts = [list(evaluation(split, whole=True, share=share).as_numpy_iterator()) for share in shares]
    seen = [(labels.argmax(1), weights) for part in parts for _, labels, weights in part]
    classes, weights = (np.concatenate(values) for values in zip(*seen, strict=True))
    assert sorted(classes[weights > 0]) == list(range(7))
    assert weights.sum() == pytest.approx(8)  # Keras divides by all eight
