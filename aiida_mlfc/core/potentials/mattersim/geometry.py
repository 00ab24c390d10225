"""Lattices and coordinates as differentiable functions; lattice vectors are rows."""

from __future__ import annotations

import torch
from torch import Tensor


def lattice_params_to_matrix(params: Tensor) -> Tensor:
    """Lattice vectors from lengths and angles: a along x, b in the xy plane.

    :param params: (a, b, c, α, β, γ), Å and degrees, shape ``(..., 6)``.
    :return: lattice vectors as rows, shape ``(..., 3, 3)``, Å.
    :raises ValueError: if the last axis has not six entries.
    """
    if params.shape[-1:] != (6,):
        raise ValueError(f'params: got shape {tuple(params.shape)}, wanted (..., 6): a, b, c in Å, angles in degrees')
    a, b, c, *degrees = params.unbind(-1)
    cos_alpha, cos_beta, cos_gamma = (torch.cos(torch.deg2rad(angle)) for angle in degrees)
    sin_gamma = torch.sin(torch.deg2rad(degrees[2]))
    zero = torch.zeros_like(a)
    c_y = (cos_alpha - cos_beta * cos_gamma) / sin_gamma
    c_z = torch.sqrt(1 - cos_beta**2 - c_y**2)
    rows = (
        torch.stack((a, zero, zero), dim=-1),
        torch.stack((b * cos_gamma, b * sin_gamma, zero), dim=-1),
        torch.stack((c * cos_beta, c * c_y, c * c_z), dim=-1),
    )
    return torch.stack(rows, dim=-2)


def frac_to_cart(frac_coords: Tensor, lattice: Tensor) -> Tensor:
    """Cartesian coordinates, Å.

    :param frac_coords: shape ``(..., n_atoms, 3)``.
    :param lattice: shape ``(..., 3, 3)``, Å.
    """
    return frac_coords @ lattice


def cart_to_frac(cart_coords: Tensor, lattice: Tensor) -> Tensor:
    """Coordinates in units of the lattice vectors.

    :param cart_coords: shape ``(..., n_atoms, 3)``, Å.
    :param lattice: shape ``(..., 3, 3)``, Å.
    """
    return torch.linalg.solve(lattice, cart_coords, left=False)


def wrap_to_unit_cell(frac_coords: Tensor) -> Tensor:
    """The same sites with coordinates in [0, 1), negative ones included; the derivative is one.

    :param frac_coords: any shape.
    """
    wrapped = frac_coords - torch.floor(frac_coords)
    # A tiny negative number rounds to exactly one.
    return torch.where(wrapped >= 1, wrapped - 1, wrapped)


def compute_distance_pbc(pos_i: Tensor, pos_j: Tensor, lattice: Tensor, pbc_offset: Tensor) -> Tensor:
    """|x_i - (x_j + S lattice)|, Å: the distance to the image that ``pbc_offset`` names, not to the nearest one.

    :param pos_i: shape ``(..., 3)``, Å.
    :param pos_j: shape ``(..., 3)``, Å.
    :param lattice: shape ``(3, 3)``, Å.
    :param pbc_offset: S, integers, shape ``(..., 3)``.
    """
    return torch.linalg.vector_norm(pos_i - (pos_j + pbc_offset.to(lattice.dtype) @ lattice), dim=-1)
