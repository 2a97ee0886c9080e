"""What a step minimises: the weighted losses of one head in a few poses.

Of a rigged head the target is its own rig, rendered; of an unrigged one, what an animator drew.

Axis legend: B poses, V vertices, R rows and columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from raf_training.losses.displacement_2d import displacement_2d_loss
from raf_training.losses.eye_closure_2d import eye_closure_2d_loss
from raf_training.losses.image import image_loss
from raf_training.losses.landmark_2d import landmark_2d_loss
from raf_training.losses.mask import mask_loss
from raf_training.losses.mse_3d import mse_3d_loss
from raf_training.losses.regularisation import regularisation_loss
from raf_training.losses.weights import LossWeights
from raf_training.posing import posed
from raf_training.rendering.displacement import STILL
from raf_training.stages.heads import StageHead
from raf_training.stages.landmarks import landmarks_of, lids_of
from raf_training.stages.targets import Target
from raf_training.stages.views import FrontView

__all__ = ["Objective"]


@dataclass(frozen=True)
class Objective:
    """The losses, by weights, on images of R x R pixels."""

    weights: LossWeights
    resolution: int

    def __call__(
        self, head: StageHead, rows: tuple[int, ...], moved: Tensor, targets: list[Target] | None
    ) -> dict[str, Tensor]:
        """Compare predicted displacements with what is known of the head.

        Parameters
        ----------
        head : StageHead
        rows : tuple of int
            Its poses, B of them.
        moved : (B, V, 3) float
            Predicted displacements, canonical units.
        targets : list of Target, optional
            Of an unrigged head.

        Returns
        -------
        dict
            Name of each loss -> its value times its weight. One whose weight is 0 is left out, or 0.
        """
        view = FrontView(head.surface.positions, head.faces, self.resolution)
        terms = self._drawn(view, moved, targets) if targets else self._rigged(view, head, rows, moved)
        if self.weights.regularisation:
            terms["regularisation"] = regularisation_loss(moved)
        return {name: getattr(self.weights, name) * value for name, value in terms.items()}

    def _drawn(self, view: FrontView, moved: Tensor, targets: list[Target]) -> dict[str, Tensor]:
        w, terms = self.weights, dict[str, Tensor]()
        image, mask, confidence, right, down = (
            self._resized(torch.stack(images).to(moved))
            for images in zip(
                *((t.image, t.mask, t.confidence, *t.displacement.unbind(-1)) for t in targets), strict=True
            )
        )
        if w.image or w.mask:
            found = view.images(moved)
            terms["image"] = image_loss(found[0], image, confidence)
            terms["mask"] = mask_loss(found[1], mask, confidence)
        if w.displacement_2d:
            drawn = STILL + 0.5 * torch.stack([right, down], dim=-1)
            terms["displacement_2d"] = displacement_2d_loss(
                view.displacement(moved), drawn, view.mask * confidence
            )
        return terms

    def _rigged(
        self, view: FrontView, head: StageHead, rows: tuple[int, ...], moved: Tensor
    ) -> dict[str, Tensor]:
        assert head.deltas is not None
        w, terms, true = self.weights, dict[str, Tensor](), posed(head.deltas, rows)
        size = (self.resolution, self.resolution)
        if w.image or w.mask:
            found, expected = view.images(moved), view.images(true)
            terms["image"] = image_loss(found[0], expected[0])
            terms["mask"] = mask_loss(found[1], expected[1])
        if w.displacement_2d:
            terms["displacement_2d"] = displacement_2d_loss(
                view.displacement(moved), view.displacement(true), view.mask
            )
        if w.mse_3d:
            terms["mse_3d"] = mse_3d_loss(moved, true)
        if w.landmark_2d:
            marks = landmarks_of(head.deltas, head.poses)
            found, expected = (marks.on(view.points(d)) for d in (moved, true))
            # A head that is cropped to nothing that moves has no landmarks.
            some = len(marks.corners) > 0
            terms["landmark_2d"] = landmark_2d_loss(found, expected, size) if some else moved.sum() * 0
        if w.eye_closure_2d:
            upper, lower = lids_of(head.surface.positions, head.deltas, head.poses)
            lids = [(upper.on(view.points(d)), lower.on(view.points(d))) for d in (moved, true)]
            some = len(upper.corners) > 0
            terms["eye_closure_2d"] = eye_closure_2d_loss(lids[0], lids[1], size) if some else moved.sum() * 0
        return terms

    def _resized(self, images: Tensor) -> Tensor:
        """Images (B, H, W) at this resolution."""
        if images.shape[-1] == self.resolution:
            return images
        size = (self.resolution, self.resolution)
        return functional.interpolate(images[:, None], size, mode="bilinear", antialias=True)[:, 0]
