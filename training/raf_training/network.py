"""The network family: diffusion on surfaces, with a trunk shared by all poses and blocks conditioned on one pose.

Axis legend: V vertices, K eigenpairs, C channels, P poses, A anchors, G global channels, B pose vectors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from raf_runtime.contract import ARKIT_POSES
from raf_training.blocks import ConditionalDiffusionBlock, DiffusionBlock, GlobalEncoder, SurfaceTensors
from raf_training.readouts import Readouts
from raf_training.strangers import Judge

__all__ = ["CONFIGS", "LANDMARKS", "NetworkConfig", "RigNetwork", "SurfaceTensors"]


def _sides(*names: str) -> tuple[str, ...]:
    return tuple(name + side for name in names for side in ("Left", "Right"))


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of one member of the family.

    Attributes
    ----------
    eigenpairs : K, eigenvectors that features diffuse in.
    width : C, channels of the trunk and pose blocks.
    gradients : channels whose tangent gradients each of these blocks looks at.
    trunk_blocks : blocks that do not know the pose; with ``pose_blocks = 0`` a head emits all P poses at once.
    pose_blocks : blocks conditioned on a pose vector; the network then answers one pose per pass.
    encoder_width, encoder_gradients, encoder_blocks : size of the global encoder; its width is G. Without blocks
        there is none, nor anchors.
    anchors : A, points that the encoder places on the surface; vertices are described relative to them. The first
        ``len(marks)`` are taught to lie where the poses ``marks`` move the face most, the others are free.
    marks : names of poses, at most A.
    strangers : whether the network moves strangers, faces unlike all that it has learned from, in a way of their own.
    families : whose faces it judges not to be strangers (:mod:`raf_training.strangers`); without any, nobody is one.
    readouts : whether the last layers have weights of their own for each family (:mod:`raf_training.readouts`).
    frequencies : octaves of the Fourier encoding of positions.
    poses : the names behind the P outputs (or entries of the pose vector).
    """

    eigenpairs: int = 128
    width: int = 128
    gradients: int = 64
    trunk_blocks: int = 4
    pose_blocks: int = 0
    encoder_width: int = 64
    encoder_gradients: int = 32
    encoder_blocks: int = 2
    anchors: int = 24
    frequencies: int = 4
    poses: tuple[str, ...] = ARKIT_POSES
    marks: tuple[str, ...] = ()
    strangers: bool = False
    families: tuple[str, ...] = ()
    readouts: bool = False


# Poses that move a small part of the face, wherever that part is on this head.
LANDMARKS = (
    *_sides("eyeBlink", "eyeSquint", "browDown", "browOuterUp", "cheekSquint", "noseSneer"),
    *_sides("mouthSmile", "mouthUpperUp", "mouthLowerDown"),
    *("browInnerUp", "jawOpen", "mouthShrugLower", "mouthPucker", "mouthRollUpper", "mouthRollLower"),
)

CONFIGS = {
    "default": NetworkConfig(anchors=48, marks=LANDMARKS, strangers=True),
    # What the global encoder is worth shows beside this one.
    "blind": NetworkConfig(encoder_blocks=0, anchors=0),
    "paper": NetworkConfig(
        width=256,
        gradients=256,
        trunk_blocks=0,
        pose_blocks=8,
        encoder_width=128,
        encoder_gradients=128,
        anchors=0,
        frequencies=0,
    ),
    # The paper's, narrow enough for two cores.
    "small": NetworkConfig(
        width=64,
        gradients=64,
        trunk_blocks=0,
        pose_blocks=4,
        encoder_width=32,
        encoder_gradients=32,
        anchors=0,
        frequencies=0,
    ),
}


class RigNetwork(nn.Module):
    """Displacements of every vertex in every pose, in canonical units."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        local = 6 + 6 * config.frequencies
        pooled = config.encoder_width if config.encoder_blocks else 0
        described = local + 4 * config.anchors + pooled
        self.encoder = (
            GlobalEncoder(
                local, config.encoder_width, config.encoder_gradients, config.encoder_blocks, config.anchors
            )
            if config.encoder_blocks
            else None
        )
        self.log_reach = nn.Parameter(torch.zeros(config.anchors))
        self.judge = Judge(len(config.families), 3 * config.anchors + pooled) if config.families else None
        # What is added to the features of a stranger.
        self.strange = nn.Parameter(torch.zeros(config.width)) if config.strangers else None
        self.embed = nn.Linear(described, config.width)
        self.trunk = nn.ModuleList(
            DiffusionBlock(config.width, config.gradients) for _ in range(config.trunk_blocks)
        )
        self.posed = nn.ModuleList(
            ConditionalDiffusionBlock(config.width, config.gradients, len(config.poses), pooled)
            for _ in range(config.pose_blocks)
        )
        emitted = 1 if config.pose_blocks else len(config.poses)
        emit = nn.Linear(2 * config.width, 3 * emitted)
        # Start from a rig that does not move.
        nn.init.zeros_(emit.weight)
        nn.init.zeros_(emit.bias)
        self.head = nn.Sequential(nn.Linear(config.width, 2 * config.width), nn.ReLU(), emit)
        self.readouts = (
            Readouts(len(config.families) + 1, config.width, 2 * config.width + config.gradients, 3 * emitted)
            if config.readouts
            else None
        )

    def forward(
        self, surface: SurfaceTensors, pose: Tensor | None = None, strange: Tensor | float | None = None
    ) -> Tensor:
        """Predict displacements.

        Parameters
        ----------
        surface : SurfaceTensors
            One head, in canonical frame and units.
        pose : (P,) or (B, P) float32, only with ``pose_blocks > 0``
            Activation of every pose, once or several times. What does not depend on it is computed once.
        strange : float or () float32, optional
            How far the face is a stranger; by default the network judges that by itself, if it can.

        Returns
        -------
        (P, V, 3) float32; (1, V, 3) or (B, V, 3), of the given pose vectors, with ``pose_blocks > 0``.
        """
        return self.displacements_and_anchors(surface, pose, strange)[0]

    def summary(self, surface: SurfaceTensors) -> Tensor:
        """What a network with an encoder makes of a whole head: anchors and global vector (3 A + G,)."""
        assert self.encoder is not None
        pooled, anchors = self.encoder(self._local(surface), surface)
        return torch.cat([anchors.flatten(), pooled])

    def displacements_and_anchors(
        self, surface: SurfaceTensors, pose: Tensor | None = None, strange: Tensor | float | None = None
    ) -> tuple[Tensor, Tensor]:
        """Predict displacements as :meth:`forward` does, and the anchors (A, 3) on the way, for their own loss."""
        local = self._local(surface)
        pooled, anchors = local[:0, 0], surface.positions[:0]
        if self.encoder is not None:
            pooled, anchors = self.encoder(local, surface)
        summary = torch.cat([anchors.flatten(), pooled])
        if strange is None and self.judge is not None:
            strange = self.judge(summary)
        x = self._embedded(local, surface.positions, anchors, pooled, strange)
        if self.readouts is not None:
            assert self.judge is not None and strange is not None
            return _by_pose(self._read_out(x, surface, self.judge.shares(summary, strange))), anchors
        for block in self.trunk:
            x = block(x, surface)
        if self.config.pose_blocks:
            if pose is None:
                raise ValueError("a network with pose blocks needs a pose vector")
            poses = pose.reshape(-1, len(self.config.poses))
            condition = torch.cat([poses, pooled.expand(len(poses), -1)], dim=1)
            for block in self.posed:
                x = block(x, condition, surface)
            return self.head(x), anchors
        return _by_pose(self.head(x)), anchors

    def _read_out(self, x: Tensor, surface: SurfaceTensors, shares: Tensor) -> Tensor:
        """Map features (V, C) to what is emitted (V, 3 P), the last layers blended by ``shares``."""
        *blocks, last = self.trunk
        assert self.readouts is not None and isinstance(last, DiffusionBlock)
        for block in blocks:
            x = block(x, surface)
        return self.readouts(x, last.norm(last.gathered(x, surface)), shares)

    def _local(self, surface: SurfaceTensors) -> Tensor:
        """Features (V, 6 + 6 frequencies) of each vertex by itself."""
        features = [surface.positions, surface.normals]
        for octave in range(self.config.frequencies):
            phase = (0.5 * math.pi * 2.0**octave) * surface.positions
            features += [phase.sin(), phase.cos()]
        return torch.cat(features, dim=1)

    def _embedded(
        self,
        local: Tensor,
        positions: Tensor,
        anchors: Tensor,
        pooled: Tensor,
        strange: Tensor | float | None,
    ) -> Tensor:
        """Map the features of each vertex, those relative to the anchors and the global vector to channels (V, C).

        Features relative to an anchor are the offset from it, and nearness within a learned reach. Offsets would be
        (V, A, 3) numbers, but a linear map sums them up to one of positions and a constant: W (x - a) = W x - W a.
        """
        count = len(anchors)
        weights = self.embed.weight.split([local.shape[1], 3 * count, count, len(pooled)], dim=1)
        of_local, of_offsets, of_nearness, of_pooled = weights
        of_offsets = of_offsets.unflatten(1, (count, 3))
        of_local = of_local + functional.pad(of_offsets.sum(1), (0, local.shape[1] - 3))
        constant = self.embed.bias + of_pooled @ pooled - of_offsets.flatten(1) @ anchors.flatten()
        if strange is not None and self.strange is not None:
            constant = constant + strange * self.strange
        # One axis after the other: no (V, A, 3) here either, and no product that half precision would round.
        x, y, z = (positions[:, axis, None] - anchors[:, axis] for axis in range(3))
        squares = x * x + y * y + z * z
        near = torch.exp(-squares * torch.exp(-2 * self.log_reach))
        return functional.linear(torch.cat([local, near], 1), torch.cat([of_local, of_nearness], 1), constant)


def _by_pose(emitted: Tensor) -> Tensor:
    """From (V, 3 P) to (P, V, 3)."""
    return emitted.T.unflatten(0, (-1, 3)).transpose(1, 2)
