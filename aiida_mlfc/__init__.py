"""Phonons from machine-learned potentials, at scale, with provenance.

The few public names are loaded on first use (PEP 562), so that ``import aiida_mlfc`` costs nothing.
"""

from typing import Any

__version__ = '0.1.0'

_PUBLIC = {
    'load_potential': 'aiida_mlfc.core.potentials.registry',
    'relax': 'aiida_mlfc.core.potentials.relaxation.relax',
    'relax_many': 'aiida_mlfc.core.potentials.relaxation.relax',
    'compute_force_constants': 'aiida_mlfc.runner.force_constants',
    'dynamical_matrices': 'aiida_mlfc.runner.dynamical_matrices',
    'gruneisen_parameters': 'aiida_mlfc.runner.gruneisen',
    'analyse': 'aiida_mlfc.core.phonons.analysis',
    'follow_modes': 'aiida_mlfc.runner.follow',
}
__all__ = [
    'analyse',
    'compute_force_constants',
    'dynamical_matrices',
    'follow_modes',
    'gruneisen_parameters',
    'load_potential',
    'relax',
    'relax_many',
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}; it has {", ".join(__all__)}')
    from importlib import import_module

    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, '__version__'])
