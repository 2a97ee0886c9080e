"""Regularisation: no motion where no image asks for any.

Axis legend: V vertices.

With predicted displacements d, in canonical units::

    loss = mean_v |d_v|^2

An image says nothing of motion along its view axis, nor of hidden vertices. The paper does not say what it regularises;
this is the plainest term that settles both.
"""

from __future__ import annotations

from torch import Tensor

__all__ = ["regularisation_loss"]


def regularisation_loss(displacements: Tensor) -> Tensor:
    """Mean squared length of displacements (..., V, 3); returns a scalar."""
    return displacements.square().sum(-1).mean()
