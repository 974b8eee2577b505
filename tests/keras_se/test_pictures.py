"""Pictures are written as the kind that their name says, or refused in one line."""

import pytest
from PIL import Image

from keras_se import InputError
from keras_se.pictures import check_picture, new_figure, save_figure


@pytest.mark.parametrize(("name", "kind"), [("a.png", "PNG"), ("a.jpg", "JPEG")])
def test_a_picture_is_of_the_kind_that_its_name_says(name, kind, tmp_path):
    save_figure(new_figure(2, 1), tmp_path / name)
    with Image.open(tmp_path / name) as picture:
        assert picture.format == kind
        assert picture.size == (220, 110)  # 110 pixels an inch


def test_another_kind_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(InputError, match=r"a picture must be an image file, as plot\.png or plot\.svg; got .*a\.txt"):
        save_figure(new_figure(2, 1), tmp_path / "a.txt")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_a_file_is_refused_before_the_work(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match=r"cannot write in .*file"):
        check_picture(tmp_path / "file" / "a.png")


def test_a_full_disk_is_named(tmp_path, monkeypatch):
    figure = new_figure(2, 1)

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(figure, "savefig", full)
    with pytest.raises(InputError, match=r"a\.png cannot be written \(No space left on device\)"):
        save_figure(figure, tmp_path / "a.png")
    assert not list(tmp_path.iterdir())
