"""Find the weights that `create_model` takes: files of ours and of timm's, and those of the Hugging Face hub."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keras_se.errors import InputError
from keras_se.weights.hub import fetch, published_name
from keras_se.weights.initial_weights import Weights, origin_of_file
from keras_se.weights.keras_weights import find_keras_weights, model_of_run, run_file
from keras_se.weights.timm_mapping import ARCHITECTURES, PUBLISHED, architecture_of, best_weights
from keras_se.weights.timm_weights import find_timm_weights


def find_weights(model: str, weights: str | Path | None, requested: Mapping[str, Any]) -> Weights:
    """Find the weights that `create_model` was asked for, without reading them yet.

    Args:
        model: its name in the registry.
        weights: None, a path, the folder of a run, "imagenet", or `timm/NAME` with or without `@COMMIT`.
        given: the arguments that the user gave; they must not contradict the weights'.
    Raises:
        InputError: there are none there, or they are not of this model.
    """
    if weights is None:
        return Weights()
    if weights == "imagenet":  # also where a folder of images has that name
        weights = best_weights(model)
    if str(weights).startswith("timm/") and not Path(weights).exists():
        name = published_name(str(weights))
        architecture = architecture_of(name)
        if ARCHITECTURES[architecture].model != model:
            raise InputError(f"{weights} are weights of {ARCHITECTURES[architecture].model}; got model {model!r}")
        fetched = fetch(str(weights))
        origin = {"weights": fetched.weights, "sha256": fetched.sha256}
        return find_timm_weights(
            fetched.path,
            model,
            requested,
            origin,
            architecture=architecture,
            preprocessing=PUBLISHED[name].preprocessing,
        )
    path = run_file(weights) or Path(weights)
    if not path.is_file():
        raise InputError(
            f"weights must be a file, the folder of a run, imagenet or timm/NAME; got {str(weights)!r}, which is none"
        )
    if path.suffix == ".keras" or path.name.endswith(".weights.h5"):
        return find_keras_weights(path, model, requested)
    if path.suffix in (".h5", ".hdf5"):
        raise InputError(
            f"weights must be a .keras, .weights.h5 or .safetensors file; got {path}: load it into the model that it "
            "is of, with load_model or load_weights, and write model.save_weights('NAME.weights.h5')"
        )
    if path.suffix != ".safetensors":
        raise InputError(
            f"weights must be a .keras, .weights.h5 or .safetensors file, for nothing is unpickled here; got {path}; "
            "where it is trusted, safetensors.torch.save_file(torch.load(PATH, weights_only=True), 'NAME.safetensors') "
            "converts it"
        )
    return find_timm_weights(path, model, requested, origin_of_file(path))


def model_of_weights(weights: str | Path) -> str | None:
    """Return the registry's name of the model that weights are of, where their name or a run's record says it.

    Raises:
        InputError: no such weights are known, or the run's record is damaged.
    """
    if str(weights).startswith("timm/") and not Path(weights).exists():
        return ARCHITECTURES[architecture_of(published_name(str(weights)))].model
    path = run_file(weights)
    return None if path is None else model_of_run(path)
