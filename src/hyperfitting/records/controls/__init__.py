"""What `hyperfit explain` found: `explain/NAME.json` holds one record of each tuned model.

The name of a control is the name of its file, of its module here, and of its line in `CONTROLS`
of `explain/controls.py`.
"""

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from pydantic import Field

from hyperfitting.records.arms import Arm
from hyperfitting.records.controls.block_swap import BlockSwap
from hyperfitting.records.controls.geometry import Geometry
from hyperfitting.records.controls.joint_null import JointNull
from hyperfitting.records.controls.lens import Lens
from hyperfitting.records.controls.overrides import Overrides
from hyperfitting.records.controls.provenance import Provenance
from hyperfitting.records.controls.rotation import Rotation
from hyperfitting.records.controls.single_blocks import SingleBlocks
from hyperfitting.records.controls.static_bias import StaticBias
from hyperfitting.records.controls.tokens import ChosenKinds
from hyperfitting.records.origins import Environment, Origin
from hyperfitting.records.record import FileRecord, OfArm

RECORDS: Mapping[str, type[OfArm]] = {
    "geometry": Geometry,
    "provenance": Provenance,
    "static_bias": StaticBias,
    "joint_null": JointNull,
    "block_swap": BlockSwap,
    "single_blocks": SingleBlocks,
    "rotation": Rotation,
    "lens": Lens,
    "overrides": Overrides,
    "tokens": ChosenKinds,
}

Found = TypeVar("Found", bound=OfArm)


class ControlFile(FileRecord, Generic[Found]):
    """A file of one control: on which texts and with which settings it ran, and what it found."""

    contexts_digest: str
    model: str
    origin: Origin | None = None  # of the original; None for models in memory
    num_contexts: int
    explain: dict[str, Any]
    environment: Environment
    arms: list[Found]
    original_digest: str | None = None  # of all that each computes with
    digests: list[str] = Field(default_factory=list)  # of the tuned models, as arms

    def of_others(self, evaluated: Mapping[Arm, str]) -> list[Arm]:
        """Arms whose model here is another than the one of that digest that was evaluated."""
        known = zip(self.arms, self.digests, strict=False)  # earlier versions noted none
        return [each.arm for each, digest in known if evaluated.get(each.arm, digest) != digest]


class KeptFinding(FileRecord, Generic[Found]):
    """What a control found of one tuned model, of an explanation that is not finished."""

    found: Found
