"""DXConfig: every choice that fixes a dx model, and the presets under which the source document named them."""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Attention = Literal['smooth_softmax', 'sigmoid', 'none', 'softmax']
Norm = Literal['merged', 'none', 'per_degree']
Envelope = Literal['bump', 'quartic', 'polynomial']

#: of one crystal, in a cluster expansion: its coefficients grow with their third power
MOST_ELEMENTS = 8
MOST_MEMBERS = 100


class DXDefectWarning(UserWarning):
    """The chosen settings have a known defect; they exist to reproduce it."""


@dataclass(frozen=True)
class DXConfig:
    """Settings of a :class:`~aiida_mlfc.core.potentials.dx.model.DXModel`.

    Sound choices are the defaults. ``attention='softmax'`` jumps in energy when an edge crosses the cutoff,
    ``norm='per_degree'`` makes the Hessian of a symmetric crystal 10^6 too large: both warn.
    """

    #: atomic numbers the model knows; their order is the order of the columns of ``atom_types``
    species: tuple[int, ...]
    #: features per component; multiple of ``n_heads``
    channels: int = 48
    #: attention blocks; the range of the energy is ``(n_layers + 1) * cutoff``
    n_layers: int = 2
    n_heads: int = 4
    #: features per head from which the attention score is made
    attention_channels: int = 8
    #: Å
    cutoff: float = 5.0
    #: radial basis functions
    n_radial: int = 10
    #: width of the radial networks
    radial_width: int = 64
    #: channels of the type embedding in the edge features
    type_channels: int = 16
    #: second tensor product inside the attention (Equiformer's "nonlinear" message)
    nonlinear: bool = True
    attention: Attention = 'smooth_softmax'
    norm: Norm = 'merged'
    envelope: Envelope = 'bump'
    #: average number of neighbours in training, a constant of the model
    average_neighbours: float = 40.0
    #: multiplies the atomic energies, eV
    energy_scale: float = 1.0
    #: a Coulomb energy of one latent charge a species beside the atomic energies
    electrostatics: bool = False
    #: standard deviation of the Gaussians that carry these charges, Å
    charge_width: float = 1.0
    #: atomic numbers that occur together in a crystal, for each crystal: the pairs and triplets of a cluster expansion
    #: beside the network (:mod:`~aiida_mlfc.core.potentials.dx.expansion`); none, and there is no expansion
    expansion_systems: tuple[tuple[int, ...], ...] = ()
    #: of its pair functions and of its triplets, Å
    pair_cutoff: float = 9.0
    triplet_cutoff: float = 6.0
    #: of their spline grids, Å
    pair_spacing: float = 0.3
    triplet_spacing: float = 0.6
    #: members of an ensemble of its coefficients
    expansion_members: int = 0
    #: two atomic numbers and the distance below which they repel each other whatever was learned, Å
    #: (:mod:`~aiida_mlfc.core.potentials.dx.repulsion`)
    repulsion: tuple[tuple[int, int, float], ...] = ()
    #: how atomic energies become an energy; only the sum is extensive
    readout: Literal['sum'] = 'sum'
    #: recompute blocks in the backward pass instead of keeping them: halves the memory of forces, hardly that of
    #: Hessian-vector products, whose first backward keeps what it recomputed
    checkpoint_blocks: bool = False
    #: name of the preset the settings started from; a label, nothing follows from it
    variant: str = field(default='v4')

    def __post_init__(self) -> None:
        object.__setattr__(self, 'species', tuple(int(z) for z in self.species))
        if not self.species or len(set(self.species)) != len(self.species):
            raise ValueError(f'species: wanted distinct atomic numbers, at least one, got {self.species}')
        if self.channels % self.n_heads:
            raise ValueError(f'channels: got {self.channels}, wanted a multiple of n_heads={self.n_heads}')
        if self.cutoff <= 0:
            raise ValueError(f'cutoff: got {self.cutoff} Å, wanted a positive radius')
        systems = tuple(sorted({tuple(sorted({int(z) for z in system})) for system in self.expansion_systems}))
        object.__setattr__(self, 'expansion_systems', systems)
        if unknown := sorted({z for system in systems for z in system} - set(self.species)):
            raise ValueError(f'expansion_systems: got atomic numbers {unknown}, wanted species of the model')
        if any(len(system) > MOST_ELEMENTS for system in systems):
            raise ValueError(f'expansion_systems: got {systems}, wanted crystals of at most {MOST_ELEMENTS} elements')
        if not 0 <= self.expansion_members <= (MOST_MEMBERS if systems else 0):
            raise ValueError(
                f'expansion_members: got {self.expansion_members}, wanted 0 to {MOST_MEMBERS}, and 0 without systems'
            )
        # finer grids and longer reaches make more coefficients than memory holds
        for name, low, high in (
            ('pair_cutoff', 1.5, 15.0),
            ('triplet_cutoff', 1.5, 8.0),
            ('pair_spacing', 0.1, 1.0),
            ('triplet_spacing', 0.2, 1.0),
        ):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f'{name}: got {getattr(self, name)} Å, wanted {low} to {high}')
        repulsion = tuple(sorted((*sorted((int(a), int(b))), float(r)) for a, b, r in self.repulsion))
        object.__setattr__(self, 'repulsion', repulsion)
        if any(not {a, b} <= set(self.species) or not 0 < r <= self.cutoff for a, b, r in repulsion):
            raise ValueError(
                f'repulsion: got {repulsion}, wanted two species of the model and a distance up to its cutoff, '
                f'{self.cutoff} Å'
            )
        if not 0.5 <= self.charge_width <= 5:
            # sharper ones need more reciprocal vectors than memory holds
            raise ValueError(f'charge_width: got {self.charge_width} Å, wanted 0.5 to 5')
        if self.readout != 'sum':
            raise ValueError(
                f"readout: got {self.readout!r}, wanted 'sum': a mean is not extensive, force constants scale as 1/N"
            )
        for name, allowed in (
            ('attention', ('smooth_softmax', 'sigmoid', 'none', 'softmax')),
            ('norm', ('merged', 'none', 'per_degree')),
            ('envelope', ('bump', 'quartic', 'polynomial')),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(f'{name}: got {getattr(self, name)!r}, wanted one of {", ".join(allowed)}')
        if self.attention == 'softmax':
            warnings.warn(
                "attention='softmax' has no envelope inside the softmax: the energy jumps when an edge crosses the "
                "cutoff. Use 'smooth_softmax'.",
                DXDefectWarning,
                stacklevel=3,
            )
        if self.norm == 'per_degree':
            warnings.warn(
                "norm='per_degree' divides by features that vanish by symmetry: Hessians of perfect crystals are wrong "
                "by orders of magnitude. Use 'merged'.",
                DXDefectWarning,
                stacklevel=3,
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as stored in a checkpoint."""
        systems, repulsion = ([list(entry) for entry in x] for x in (self.expansion_systems, self.repulsion))
        return asdict(self) | {'species': list(self.species), 'expansion_systems': systems, 'repulsion': repulsion}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> DXConfig:
        """The inverse of :meth:`to_dict`; an unknown key raises a ``ValueError``."""
        unknown = set(values) - set(cls.__dataclass_fields__)
        if unknown:
            raise ValueError(f'unknown dx settings {sorted(unknown)}: was the checkpoint written by a newer version?')
        systems = tuple(tuple(system) for system in values.get('expansion_systems', ()))
        return cls(**{**values, 'species': tuple(values['species']), 'expansion_systems': systems})


#: What each variant of the source document means here.
#: v1: plain softmax and a norm per degree; only to reproduce its defects. v2: no attention, messages summed and divided
#: by the root of the average number of neighbours (its mean over atoms is refused). v3: v1 with blocks recomputed in
#: the backward pass, same weights. v4: smooth attention, merged norm; the default.
_PRESETS: dict[str, dict[str, Any]] = {
    'v1': {'attention': 'softmax', 'norm': 'per_degree', 'envelope': 'polynomial'},
    'v2': {'attention': 'none'},
    'v3': {'attention': 'softmax', 'norm': 'per_degree', 'envelope': 'polynomial', 'checkpoint_blocks': True},
    'v4': {},
}
_SOURCE_NAME = 'graph_attention_transformer_nonlinear_l2_e3_noNorm_dx'


def preset(name: str, species: tuple[int, ...], **changes: Any) -> DXConfig:
    """Settings by the source document's name.

    :param name: ``v1`` to ``v4``, or ``graph_attention_transformer_nonlinear_l2_e3_noNorm_dx[_v2|_v3|_v4]``.
    :param species: atomic numbers the model is to know.
    :raises ValueError: if there is no such preset.
    """
    short = name.removeprefix(_SOURCE_NAME).removeprefix('_') or 'v1'
    if short not in _PRESETS:
        raise ValueError(f'preset: got {name!r}, wanted one of {", ".join(_PRESETS)}')
    return DXConfig(**{'species': species, 'variant': short, **_PRESETS[short], **changes})
