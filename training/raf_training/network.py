"""The network family: diffusion on surfaces, with a trunk shared by all poses and blocks conditioned on one pose.

Axis legend: V vertices, K eigenpairs, C channels, P poses, A anchors, G global channels, B pose vectors.

The backbone is DiffusionNet (Sharp, Attaiki, Crane, Ovsjanikov, "DiffusionNet: Discretization Agnostic Learning
on Surfaces", 2022); the conditional block and the global encoder follow RigAnyFace (Ma et al., NeurIPS 2025).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from raf_runtime.contract import ARKIT_POSES

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
    anchors : A, points that the encoder places on the surface; vertices are described relative to them, and where
        they lie to each other tells who this is. The first ``len(marks)`` are taught to lie where the poses ``marks``
        move the face most, the others are free.
    marks : names of poses, at most A.
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


# Standard deviation of a pose's first weights: 3 learns faster than 0.05, 0.5, 1 and 6 (docs/ablation.md).
POSE_START = 3.0

# Poses that move a small part of the face, wherever that part is on this head.
LANDMARKS = (
    *_sides("eyeBlink", "eyeSquint", "browDown", "browOuterUp", "cheekSquint", "noseSneer"),
    *_sides("mouthSmile", "mouthUpperUp", "mouthLowerDown"),
    *("browInnerUp", "jawOpen", "mouthShrugLower", "mouthPucker", "mouthRollUpper", "mouthRollLower"),
)

CONFIGS = {
    "default": NetworkConfig(anchors=48, marks=LANDMARKS),
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


@dataclass(frozen=True)
class SurfaceTensors:
    """The contract's inputs of one surface, see :mod:`raf_runtime.contract`."""

    positions: Tensor  # (V, 3)
    normals: Tensor  # (V, 3)
    mass: Tensor  # (V,)
    eigenvalues: Tensor  # (K,)
    eigenvectors: Tensor  # (V, K)
    gradient_x: Tensor  # (V, K)
    gradient_y: Tensor  # (V, K)


class DiffusionBlock(nn.Module):
    """Diffuse each channel for its own learned time, take tangent gradients, mix per vertex; residual."""

    def __init__(self, channels: int, gradients: int) -> None:
        super().__init__()
        # Times from a few square millimetres to the whole face, so that every scale is there from the first step.
        self.log_time = nn.Parameter(torch.linspace(math.log(1e-3), math.log(1.0), channels))
        self.differentiate = nn.Linear(channels, 3 * gradients, bias=False)
        mixed = 2 * channels + gradients
        self.norm = nn.LayerNorm(mixed)
        self.mix = nn.Sequential(nn.Linear(mixed, channels), nn.ReLU(), nn.Linear(channels, channels))

    def forward(self, x: Tensor, surface: SurfaceTensors) -> Tensor:
        """Map features (..., V, C) to features (..., V, C)."""
        spectrum = surface.eigenvectors.T @ (surface.mass[:, None] * x)  # (K, C)
        spectrum = spectrum * torch.exp(-surface.eigenvalues[:, None] * self.log_time.exp())
        diffused = surface.eigenvectors @ spectrum
        # The inner product of two channels' gradients does not change with the tangents, nor does that with a
        # gradient turned by a complex factor. Channels are mapped in the spectrum, where there are K, not V, of them.
        plain, real, imaginary = self.differentiate(spectrum).chunk(3, dim=-1)
        x_axis, y_axis = surface.gradient_x, surface.gradient_y
        # (x + iy)(real + i imaginary), in three products instead of four.
        shared = (x_axis + y_axis) @ real
        turned_x = shared - y_axis @ (real + imaginary)
        turned_y = shared + x_axis @ (imaginary - real)
        gradients = torch.tanh((x_axis @ plain) * turned_x + (y_axis @ plain) * turned_y)
        return x + self.mix(self.norm(torch.cat([x, diffused, gradients], dim=-1)))


class ConditionalDiffusionBlock(nn.Module):
    """A diffusion block whose output is fused with a pose vector and a global vector."""

    def __init__(self, channels: int, gradients: int, poses: int, pooled: int) -> None:
        super().__init__()
        self.diffusion = DiffusionBlock(channels, gradients)
        told = nn.Linear(channels + poses + pooled, channels)
        self.fuse = nn.Sequential(told, nn.ReLU(), nn.Linear(channels, channels))
        # One entry of a pose vector is on: from the usual start, made for as many inputs as there are, it says a
        # twentieth of what the features say, and a network looks the same in all poses for thousands of steps.
        nn.init.normal_(told.weight[:, channels : channels + poses], std=POSE_START)

    def forward(self, x: Tensor, condition: Tensor, surface: SurfaceTensors) -> Tensor:
        """Map features (V, C) or (B, V, C) and conditions (B, P + G) to features (B, V, C)."""
        x = self.diffusion(x, surface)
        copied = condition[:, None].expand(-1, x.shape[-2], -1)
        return x + self.fuse(torch.cat([x.expand(len(condition), -1, -1), copied], dim=-1))


class GlobalEncoder(nn.Module):
    """Looks at the whole neutral head: a vector for all vertices, and anchors on the surface.

    It carries information between disconnected parts, which diffusion cannot.
    """

    def __init__(self, inputs: int, channels: int, gradients: int, blocks: int, anchors: int) -> None:
        super().__init__()
        self.embed = nn.Linear(inputs, channels)
        self.blocks = nn.ModuleList(DiffusionBlock(channels, gradients) for _ in range(blocks))
        # One column more says what counts in the global vector: a neck, cut here or there, need not.
        self.attend = nn.Linear(channels, anchors + 1) if anchors else None

    def forward(self, features: Tensor, surface: SurfaceTensors) -> tuple[Tensor, Tensor]:
        """Map features (V, F) to the global vector (G,) and anchors (A, 3)."""
        x = self.embed(features)
        for block in self.blocks:
            x = block(x, surface)
        if self.attend is None:
            return (surface.mass / surface.mass.sum()) @ x, surface.positions[:0]
        # Weighting by area keeps the anchors where they are when a region is sampled more densely.
        attention = functional.softmax(self.attend(x) + surface.mass.log()[:, None], dim=0)
        # ONNX Runtime's softmax over 60,000 vertices in single precision sums to 1 within 1e-5 only, which is as much
        # as all else is off; a product sums better, and takes that out again.
        summed = attention[:, :-1].T @ functional.pad(surface.positions, (0, 1), value=1.0)
        return attention[:, -1] @ x, summed[:, :3] / summed[:, 3:]


class Layout(nn.Module):
    """What the anchors' layout says of the whole head: how large its motions are, for rigs move a small face as far as
    a large one, and a shift of every trunk block's features.
    """

    def __init__(self, anchors: int, blocks: int, width: int, emitted: int, hidden: int = 128) -> None:
        super().__init__()
        self.sizes = [*[width] * blocks, emitted]
        last = nn.Linear(hidden, sum(self.sizes))
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.read = nn.Sequential(
            nn.Linear(3 * anchors, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), last
        )

    def forward(self, anchors: Tensor) -> tuple[list[Tensor], Tensor]:
        """Map anchors (A, 3) to shifts (C,) of each block and factors (P,) of the displacements, 0.5 to 1.5."""
        *shifts, gain = self.read(anchors.flatten()).split(self.sizes)
        return shifts, 1 + 0.5 * gain.tanh()


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
        self.embed = nn.Linear(described, config.width)
        self.trunk = nn.ModuleList(
            DiffusionBlock(config.width, config.gradients) for _ in range(config.trunk_blocks)
        )
        self.posed = nn.ModuleList(
            ConditionalDiffusionBlock(config.width, config.gradients, len(config.poses), pooled)
            for _ in range(config.pose_blocks)
        )
        emitted = 1 if config.pose_blocks else len(config.poses)
        self.layout = Layout(config.anchors, config.trunk_blocks, config.width, emitted) if config.anchors else None
        emit = nn.Linear(2 * config.width, 3 * emitted)
        # Start from a rig that does not move.
        nn.init.zeros_(emit.weight)
        nn.init.zeros_(emit.bias)
        self.head = nn.Sequential(nn.Linear(config.width, 2 * config.width), nn.ReLU(), emit)

    def forward(self, surface: SurfaceTensors, pose: Tensor | None = None) -> Tensor:
        """Predict displacements.

        Parameters
        ----------
        surface : SurfaceTensors
            One head, in canonical frame and units.
        pose : (P,) or (B, P) float32, only with ``pose_blocks > 0``
            Activation of every pose, once or several times. What does not depend on it is computed once.

        Returns
        -------
        (P, V, 3) float32; (1, V, 3) or (B, V, 3), of the given pose vectors, with ``pose_blocks > 0``.
        """
        return self.displacements_and_anchors(surface, pose)[0]

    def displacements_and_anchors(
        self, surface: SurfaceTensors, pose: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Predict displacements as :meth:`forward` does, and the anchors (A, 3) on the way, for their own loss."""
        local = self._local(surface)
        pooled, anchors = local[:0, 0], surface.positions[:0]
        if self.encoder is not None:
            pooled, anchors = self.encoder(local, surface)
        x = self._embedded(local, surface.positions, anchors, pooled)
        shifts, gain = self.layout(anchors) if self.layout else (None, None)
        for number, block in enumerate(self.trunk):
            x = block(x if shifts is None else x + shifts[number], surface)
        if self.config.pose_blocks:
            if pose is None:
                raise ValueError("a network with pose blocks needs a pose vector")
            poses = pose.reshape(-1, len(self.config.poses))
            condition = torch.cat([poses, pooled.expand(len(poses), -1)], dim=1)
            for block in self.posed:
                x = block(x, condition, surface)
            return self.head(x), anchors
        moved = self.head(x).reshape(local.shape[0], -1, 3).transpose(0, 1)
        return moved if gain is None else gain[:, None, None] * moved, anchors

    def _local(self, surface: SurfaceTensors) -> Tensor:
        """Features (V, 6 + 6 frequencies) of each vertex by itself."""
        features = [surface.positions, surface.normals]
        for octave in range(self.config.frequencies):
            phase = (0.5 * math.pi * 2.0**octave) * surface.positions
            features += [phase.sin(), phase.cos()]
        return torch.cat(features, dim=1)

    def _embedded(self, local: Tensor, positions: Tensor, anchors: Tensor, pooled: Tensor) -> Tensor:
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
        # One axis after the other: no (V, A, 3) here either, and no product that half precision would round.
        x, y, z = (positions[:, axis, None] - anchors[:, axis] for axis in range(3))
        squares = x * x + y * y + z * z
        near = torch.exp(-squares * torch.exp(-2 * self.log_reach))
        return functional.linear(torch.cat([local, near], 1), torch.cat([of_local, of_nearness], 1), constant)
