"""A whole manifest of a run, for tests that need the file and no training."""

from hyperfitting.config import RunConfig
from hyperfitting.records.manifest import RunManifest, Trained, TrainingOutcome
from hyperfitting.records.origins import Environment


def settings():
    """The settings of a run as its manifest holds them."""
    own = {"model": {"name": "m"}, "data": {"source": "d"}, "train": {"method": "late_stage_lora"}}
    return RunConfig.model_validate(own).model_dump(mode="json")


def manifest(**changes):
    """The manifest of a run that is complete, or as `changes` say."""
    done = TrainingOutcome(
        epochs=2, steps=4, stopped_by="epochs", train_loss=[1.0, 0.5], final_loss=0.25,
        best_ttr=None, best_step=None, seconds=1.0, prefix_seconds=0.0, monitor_seconds=0.0,
    )  # fmt: skip
    own = {
        "status": "complete", "arm": "late_stage_lora", "seed": 0, "config": settings(),
        "config_sources": {}, "model_digest": "m", "contexts_digest": "c", "heldout_digest": "h",
        "train_digest": "t", "data_account": {"training_windows": 3},
        "trainable": Trained(count=1, blocks_0_based=None, blocks_1_based=None, names=["w"]),
        "precision": "fp32", "engine": [], "started": "2026-01-01T00:00:00Z", "training": done,
        "environment": Environment(python="3", platform="p", threads=1, packages={}),
    }  # fmt: skip
    return RunManifest(**own | changes)
