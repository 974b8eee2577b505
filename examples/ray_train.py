"""Train on a Ray cluster: python examples/ray_train.py --workers 2 --out /shared/run

Ray starts the workers, tells each of them the cluster in TF_CONFIG, and starts them again when one is lost; they go on
from the newest checkpoint in `--out`, a folder that all of them share. Install with `pip install 'keras-se[ray]'`.
"""

import argparse
import dataclasses

from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.tensorflow import TensorflowTrainer

from keras_se.training import PRESETS


def main() -> None:
    """Train on as many of Ray's workers as asked for, begun again up to three times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, help="the run's folder, absolute")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--gpus", action="store_true", help="a GPU for each worker")
    parser.add_argument("--preset", default="digits", choices=PRESETS)
    parser.add_argument("--data", default="digits", help="as for keras-se train")
    parser.add_argument("--epochs", type=int, default=20)
    arguments = parser.parse_args()
    recipe = dataclasses.replace(
        PRESETS[arguments.preset],
        data=arguments.data,
        epochs=arguments.epochs,
        out=arguments.out,
        strategy="multi_worker",
    )
    trainer = TensorflowTrainer(
        train_worker,
        train_loop_config=dataclasses.asdict(recipe),
        scaling_config=ScalingConfig(num_workers=arguments.workers, use_gpu=arguments.gpus),
        run_config=RunConfig(failure_config=FailureConfig(max_failures=3)),
    )
    trainer.fit()


def train_worker(fields: dict) -> None:
    from keras_se.training import Recipe, train

    train(Recipe(**fields), resume=True)


if __name__ == "__main__":
    main()
