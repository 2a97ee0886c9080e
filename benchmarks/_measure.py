"""Held-out identities of a rig, and how far predicted rigs of them are from the true ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from unittest.mock import patch

import numpy as np
from _metrics import GAZE, HEAD_HEIGHT, Score, Tally, on_open_jaw
from numpy.typing import NDArray
from tqdm import tqdm

import raf_sdk
from raf_runtime.contract import ARKIT_POSES
from raf_runtime.frame import Frame
from raf_sdk._rigger import Prepared
from raf_training.data.archives import read_archive
from raf_training.data.rig_source import RigSource
from raf_training.data.sources import load_sources
from raf_training.frame_check import frame_error

__all__ = ["HELD_OUT", "SCALINGS", "SEED", "Heads", "Measured", "measure", "prepare_in"]

Floats = NDArray[np.float32]

# Training draws identity i from (seed, 0 or 1, i): 2 is a stream that it never opens.
SEED, HELD_OUT = 20261122, 2
CHIN = 8  # of the 68 Multi-PIE landmarks
SCALINGS = ("chin to crown", "bounding box")


@dataclass
class Measured:
    """One source by one method under one kind of frame: a tally per scaling, and how far the frames were off."""

    source: str
    frame: str
    poses: tuple[int, ...]
    method: str = "network"
    heads: int = field(default=0, init=False)
    tallies: dict[str, Tally] = field(init=False)
    frame_errors: list[tuple[float, float, float]] = field(init=False)

    def __post_init__(self) -> None:
        """Start with no heads."""
        self.tallies = {scaling: Tally(len(ARKIT_POSES)) for scaling in SCALINGS}
        self.frame_errors = []

    @classmethod
    def of(cls, source: RigSource, frame: str, method: str = "network") -> Measured:
        """Start with the poses that ``source`` has, gaze left out."""
        poses = (i for i, pose in enumerate(ARKIT_POSES) if source.mask[i] and pose not in GAZE)
        return cls(source.name, frame, tuple(poses), method)

    def add(self, predicted: Floats, truth: Floats, millimetres: dict[str, float]) -> None:
        """Count a head: displacements (P, V, 3), mouthClose on top of jawOpen."""
        self.heads += 1
        for scaling, tally in self.tallies.items():
            tally.add(predicted, truth, millimetres[scaling])

    def score(self, scaling: str = SCALINGS[0]) -> Score:
        """All poses together."""
        return self.tallies[scaling].score(self.poses)

    def by_pose(self, scaling: str = SCALINGS[0]) -> dict[str, Score]:
        """Each pose that moves anything, by itself (on a mesh without a tongue, tongueOut does not)."""
        scores = {ARKIT_POSES[pose]: self.tallies[scaling].score([pose]) for pose in self.poses}
        return {pose: score for pose, score in scores.items() if score.count}

    def as_json(self) -> dict[str, object]:
        """Everything, for the report."""
        report: dict[str, object] = {
            "source": self.source,
            "method": self.method,
            "frame": self.frame,
            "identities": self.heads,
            "shapes": len(self.poses),
        }
        if self.frame_errors:
            medians = np.median(self.frame_errors, axis=0).tolist()
            report["frame_error_median"] = dict(
                zip(("degrees", "origin_units", "unit_relative"), medians, strict=True)
            )
        for scaling, tally in self.tallies.items():
            report[scaling] = {
                "all": asdict(self.score(scaling)),
                "shapes": {
                    pose: {**asdict(score), "scale": tally.scale(ARKIT_POSES.index(pose))}
                    for pose, score in self.by_pose(scaling).items()
                },
            }
        return report


@dataclass(frozen=True)
class Heads:
    """The identities to measure on, and how tall they are."""

    chin: int  # vertex of ICT
    chin_to_crown: float  # of ICT's mean head, in canonical units

    @classmethod
    def load(cls, data: Path) -> Heads:
        """Read the chin and proportions of ICT."""
        ict = load_sources(data, ["ict"])["ict"]
        chin = int(read_archive(data / "ict_facekit.npz")["landmarks_68"][CHIN])
        height = float(ict.neutral[:, 1].max() - ict.neutral[chin, 1])
        return cls(chin, height / Frame.from_anchors(ict.anchors(ict.neutral)).unit)

    def identity(self, source: RigSource, index: int) -> Floats:
        """Neutral vertices (V, 3) of a held-out identity; ICT's are not clipped as they are for training."""
        rng = np.random.default_rng([SEED, HELD_OUT, index])
        if source.name != "ict":
            return source.identity(rng)
        weights = rng.standard_normal(len(source.modes)).astype(np.float32)
        return source.neutral + np.tensordot(weights, source.modes, axes=1)

    def draw(self, source: RigSource, identities: int) -> Iterator[tuple[Floats, dict[str, float]]]:
        """Yield neutral vertices (V, 3) of held-out identities and how many mm a unit is on each.

        A rig that has but one identity is drawn once.
        """
        count = identities if source.modes.any() else 1
        for index in tqdm(range(count), desc=source.name, unit="head"):
            vertices = self.identity(source, index)
            yield vertices, self.millimetres(source, vertices)

    def millimetres(self, source: RigSource, vertices: Floats) -> dict[str, float]:
        """Of the source's unit, once this head is 240 mm tall by each measure of height."""
        top, bottom = float(vertices[:, 1].max()), float(vertices[:, 1].min())
        if source.name == "ict":
            height = top - float(vertices[self.chin, 1])
        else:
            height = self.chin_to_crown * Frame.from_anchors(source.anchors(vertices)).unit
        return dict(zip(SCALINGS, (HEAD_HEIGHT / height, HEAD_HEIGHT / (top - bottom)), strict=True))


def prepare_in(rigger: raf_sdk.Rigger, frame: Frame, mesh: tuple[Floats, NDArray[np.int32]]) -> Prepared:
    """Prepare a mesh as if ``frame`` had been found; everything else is done as ever."""
    with patch("raf_runtime.head.estimate_frame", return_value=frame):
        return rigger.prepare(mesh)


def measure(
    rigger: raf_sdk.Rigger, source: RigSource, heads: Heads, identities: int, true_frame: bool
) -> list[Measured]:
    """Rig held-out identities of one source, with the estimated frame and, if wanted, the true one."""
    results = [Measured.of(source, "estimated")]
    if true_frame:
        results.append(Measured.of(source, "true"))
    truth = on_open_jaw(source.deltas)
    for vertices, millimetres in heads.draw(source, identities):
        goal = Frame.from_anchors(source.anchors(vertices))
        mesh = vertices, source.faces
        for result in results:
            prepared = rigger.prepare(mesh) if result.frame == "estimated" else prepare_in(rigger, goal, mesh)
            result.frame_errors.append(frame_error(prepared.head.frame, goal))
            result.add(on_open_jaw(rigger.rig(prepared).select(ARKIT_POSES).deltas), truth, millimetres)
    return results
