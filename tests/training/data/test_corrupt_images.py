"""Images that cannot be decoded: they stop a run, or are left out on demand and recorded."""

import numpy as np
import pytest
from PIL import Image

from keras_se.errors import InputError
from keras_se.training.data.sources import load_source


def picture():
    """A colourful gradient, uint8 `(40, 56, 3)`."""
    y, x = np.mgrid[:40, :56]
    return np.stack([4 * x, 6 * y, 2 * (x + y)], axis=-1).astype(np.uint8)


def truncated_jpeg(path):
    Image.fromarray(picture()).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def write_corrupt(folder):
    """Three files that are no images: cut short, a text, and empty."""
    truncated_jpeg(folder / "ant" / "cut.jpg")
    (folder / "bee" / "text.jpg").write_text("not an image")
    (folder / "bee" / "empty.png").touch()
    return {str(folder / name) for name in ("ant/cut.jpg", "bee/text.jpg", "bee/empty.png")}


def test_corrupt_images_are_counted_and_named_and_stop_the_run(image_folder):
    folder = image_folder.write({"ant": 5, "bee": 5})
    corrupt = write_corrupt(folder)
    with pytest.raises(InputError, match="3 of 13 images") as refused:
        load_source(str(folder))
    assert all(path in str(refused.value) for path in corrupt)
    assert "--skip-corrupt" in str(refused.value)


def test_corrupt_images_are_left_out_on_demand_and_recorded(image_folder):
    folder = image_folder.write({"ant": 5, "bee": 5})
    corrupt = write_corrupt(folder)
    source = load_source(str(folder), skip_corrupt=True)
    assert set(source.corrupt) == corrupt
    used = {*source.train.images, *source.test.images}
    assert len(used) == 10
    assert not used & corrupt


def test_of_many_corrupt_images_five_are_named_and_all_counted(image_folder):
    folder = image_folder.write({"ant": 2, "bee": 2})
    for number in range(9):
        (folder / "ant" / f"bad{number}.jpg").write_text("not an image")
    with pytest.raises(InputError, match="9 of 13 images") as refused:
        load_source(str(folder))
    assert str(refused.value).count("bad") == 5


def test_corrupt_images_are_found_in_the_test_part_too(image_folder):
    image_folder.write({"ant": 3, "bee": 3}, inside="train")
    folder = image_folder.write({"ant": 2, "bee": 2}, inside="test")
    truncated_jpeg(folder / "test" / "ant" / "cut.jpg")
    with pytest.raises(InputError, match=r"1 of 11 images.*cut\.jpg"):
        load_source(str(folder))


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_part_of_which_no_image_is_left_is_refused(image_folder, part):
    for name in ("train", "test"):
        image_folder.write({"ant": 1, "bee": 1}, inside=name)
    folder = image_folder.root
    for path in (folder / part).rglob("*.png"):
        path.write_text("not an image")
    with pytest.raises(InputError, match=part):
        load_source(str(folder), skip_corrupt=True)
