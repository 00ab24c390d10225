"""A reference: force constants somebody else computed, where they are from, and what their own symmetry says."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from aiida_mlfc.core.force_constants.record import ForceConstants
from aiida_mlfc.core.references.force_sets import ForceSets

NOT_STATED = 'not stated'


@dataclass(frozen=True)
class Source:
    """Where a reference comes from.

    :param path: what was given: a file, a folder, an archive.
    :param sha256: of each file that was used, by its name, as it lay there.
    :param content: which of them the force constants are from: ``force sets`` or ``force constants``.
    :param functional: exchange and correlation, where stated.
    :param licence: where stated.
    :param more: repository, commit, code and whatever else the metadata beside it say.
    """

    path: str
    sha256: dict[str, str]
    content: str
    functional: str = NOT_STATED
    licence: str = NOT_STATED
    more: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Checks:
    """What was measured when a reference was read.

    :param n_configurations: displaced supercells; 0 if force constants were read.
    :param relative_residual: norm of the forces that symmetric harmonic force constants cannot explain, over that of
        the forces; of force constants that were read, the share that symmetrisation took away.
    :param swap_evidence: see :func:`aiida_mlfc.core.references.consistency.check_forces`; None without force sets.
    :param largest_displacement: Å; None without force sets.
    :param largest_force_at_rest: of the undisplaced crystal, from the fit, eV/Å; None without force sets.
    :param drift: largest summed force of a configuration, taken off, eV/Å; None without force sets.
    """

    n_configurations: int
    relative_residual: float
    swap_evidence: float | None = None
    largest_displacement: float | None = None
    largest_force_at_rest: float | None = None
    drift: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Reference:
    """Force constants from files.

    :param name: of the folder, file or archive, unique among those read together.
    :param force_constants: symmetrised (space group, permutation, acoustic sum rule), with Born charges where known.
    :param sets: what they were fitted to; None where force constants were read.
    :param is_of_more: whether ``sets`` are configurations held back and the force constants are of those learned, too:
        see :func:`~aiida_mlfc.core.references.configurations.held_back`.
    """

    name: str
    force_constants: ForceConstants
    source: Source
    checks: Checks
    sets: ForceSets | None = field(default=None, repr=False)
    is_of_more: bool = False


@dataclass(frozen=True)
class Refusal:
    """Something that looks like a reference and cannot be used.

    :param error: why, one line.
    """

    name: str
    path: Path
    error: str
