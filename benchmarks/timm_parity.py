"""Logits of our networks against those of timm's, on photographs, with the same weights and pixels.

In an environment with torch and timm 1.0.31, for one network or more of timm's (none named: all that we read):

    python benchmarks/timm_parity.py ask FOLDER [seresnet50 …] --photographs PHOTOGRAPHS

writes for each a checkpoint of random weights (statistics, scales and shifts of the normalisations too) and its logits
of the first photographs. In ours:

    python benchmarks/timm_parity.py compare FOLDER [--write-back] [--json]

loads each and prints the greatest difference of a logit over the greatest logit; its exit status is 1 if one is above
1e-4. With --write-back the model is written by `save_timm` and must give the very tensors that were read. --remove
removes each checkpoint when it has been compared: all of them are 3.6 GB. What `save_timm` wrote with --keep as
NAME.written.safetensors is loaded by timm, and its logits compared, by `timm_parity.py back FOLDER`.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

TOLERANCE = 1e-4  # of the greatest logit: float32 rounding through 50 to 154 layers measures 6e-7 to 2.4e-5
PHOTOGRAPHS = 3
SIZE = 224  # of the images of every network: what it computes does not depend on it
NETWORKS = (
    "seresnet18",
    "seresnet34",
    "seresnet50",
    "seresnet101",
    "seresnet152",
    "seresnext50_32x4d",
    "seresnext101_32x4d",
    "seresnext101_64x4d",
    "senet154",
    "legacy_seresnet18",
    "legacy_seresnet34",
    "legacy_seresnet50",
    "legacy_seresnet101",
    "legacy_seresnet152",
    "legacy_seresnext50_32x4d",
    "legacy_seresnext101_32x4d",
    "legacy_senet154",
    "mobilenetv3_small_100",
    "mobilenetv3_large_100",
    "tf_mobilenetv3_small_100",
    "tf_mobilenetv3_large_100",
    "efficientnet_b0",
    "efficientnet_b1",
    "efficientnet_b2",
    "efficientnet_b3",
    "efficientnet_b4",
    "efficientnet_b5",
    "efficientnet_b6",
    "efficientnet_b7",
    "tf_efficientnet_b0",
    "tf_efficientnet_b1",
    "efficientnet_lite0",
    "tf_efficientnet_lite4",
    "semnasnet_100",
)


def read_photographs(folder):
    """Float32 `(photographs, 224, 224, 3)`, of mean 0 and deviation 1 over ImageNet."""
    from PIL import Image

    paths = sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in (".jpeg", ".jpg", ".png"))
    pixels = [np.asarray(Image.open(path).convert("RGB").resize((SIZE, SIZE))) for path in paths[:PHOTOGRAPHS]]
    return ((np.stack(pixels) / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)).astype(np.float32)


def ask(arguments):
    """Write each network's random checkpoint and timm's logits of the photographs; needs torch and timm."""
    import timm
    import torch
    from safetensors.numpy import save_file

    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "golden"))
    from make_timm_golden import randomise

    folder = Path(arguments.folder)
    folder.mkdir(parents=True, exist_ok=True)
    photographs = read_photographs(arguments.photographs)
    np.save(folder / "photographs.npy", photographs)
    inputs = torch.from_numpy(photographs.transpose(0, 3, 1, 2))
    for seed, name in enumerate(arguments.networks or NETWORKS):
        torch.manual_seed(seed)
        model = randomise(timm.create_model(name), inputs)
        with torch.no_grad():
            np.save(folder / f"{name}.npy", model(inputs).numpy())
        state = {key: np.ascontiguousarray(value.numpy()) for key, value in model.state_dict().items()}
        save_file(state, folder / f"{name}.safetensors", {"format": "pt"})


def compare(arguments):
    """Load each checkpoint into our network and print how far its logits are from timm's."""
    import keras
    from safetensors.numpy import load_file

    from keras_se import create_model, save_timm
    from keras_se.weights.timm_mapping import ARCHITECTURES

    folder = Path(arguments.folder)
    photographs = np.load(folder / "photographs.npy")
    errors = {}
    for name in (name for name in NETWORKS if (folder / f"{name}.safetensors").is_file()):
        path, row = folder / f"{name}.safetensors", ARCHITECTURES[name]
        ported = {"padding": "same"} if name.startswith("tf_") else {}  # what tells them from their twins
        shape = photographs.shape[1:]
        model = create_model(row.model, input_shape=shape, weights=path, classifier_activation=None, **ported)
        expected = np.load(folder / f"{name}.npy")
        errors[name] = float(np.abs(model.predict(photographs, verbose=0) - expected).max() / np.abs(expected).max())
        if arguments.write_back:
            written = folder / f"{name}.written.safetensors"
            assert save_timm(model, written) == name
            read, wrote = load_file(path), load_file(written)
            assert read.keys() == wrote.keys()
            assert all(np.array_equal(wrote[key], read[key]) for key in read if "num_batches" not in key)
            if not arguments.keep:
                written.unlink()
        if arguments.remove:
            path.unlink()
        del model
        keras.backend.clear_session()
        print(f"{name:28} {errors[name]:.1e}", file=sys.stderr if arguments.json else sys.stdout, flush=True)
    if arguments.json:
        print(json.dumps(errors, indent=2))
    return int(not errors or max(errors.values()) > TOLERANCE)


def back(arguments):
    """Load into timm what `save_timm` wrote, and print how far its logits are; needs torch and timm."""
    import timm
    import torch
    from safetensors.torch import load_file

    folder = Path(arguments.folder)
    inputs = torch.from_numpy(np.load(folder / "photographs.npy").transpose(0, 3, 1, 2))
    errors = {}
    for path in sorted(folder.glob("*.written.safetensors")):
        name = path.name.partition(".")[0]
        model = timm.create_model(name).eval()
        model.load_state_dict(load_file(path), strict=True)
        expected = np.load(folder / f"{name}.npy")
        with torch.no_grad():
            errors[name] = float(np.abs(model(inputs).numpy() - expected).max() / np.abs(expected).max())
        print(f"{name:28} {errors[name]:.1e}", flush=True)
    return int(not errors or max(errors.values()) > TOLERANCE)


def main():
    """Run the command named; its exit status, where it compares, is 1 for a difference above the tolerance."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    asking = commands.add_parser("ask")
    asking.add_argument("folder")
    asking.add_argument("networks", nargs="*")
    asking.add_argument("--photographs", required=True)
    asking.set_defaults(run=ask)
    comparing = commands.add_parser("compare")
    comparing.add_argument("folder")
    for option in ("--write-back", "--keep", "--remove", "--json"):
        comparing.add_argument(option, action="store_true")
    comparing.set_defaults(run=compare)
    backing = commands.add_parser("back")
    backing.add_argument("folder")
    backing.set_defaults(run=back)
    arguments = parser.parse_args()
    sys.exit(arguments.run(arguments))


if __name__ == "__main__":
    main()
