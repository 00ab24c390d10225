"""Force sets of phono3py, read with phonopy's tools: one data set for third order, perhaps one for second order.

``phono3py_disp.yaml`` and ``phono3py_params.yaml`` describe up to two supercells of one crystal: that of third order,
where single atoms and pairs of them are displaced, and with ``--dim-fc2`` a larger one with single atoms. Each becomes
what phonopy itself would have written: a mapping for its YAML reader, and plain configurations.

Pairs beyond a cutoff (``included: false``) were never computed, though ``FORCES_FC3`` holds a block of zeros for each.
A pair that moves one atom back and forth is the crystal at rest. Some pairs stand there twice. None of these is a
configuration.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from aiida_mlfc.core.references.files import text_of
from aiida_mlfc.core.references.finding import PHONO3PY, Candidate
from aiida_mlfc.core.references.force_sets import SMALLEST_DISPLACEMENT, ReferenceError, checked_forces, has_forces
from aiida_mlfc.core.references.parsing import dataset_of_force_sets

#: Å or bohr; displacements of two files that are the same
SAME_DISPLACEMENT = 1e-6
_PHONON = 'phonon_'


@dataclass(frozen=True)
class Displaced:
    """One supercell of phono3py's first type of data set.

    :param moves: atoms, from 0, with their displacements, which add up where an atom stands there twice.
    :param included: whether it was computed.
    """

    moves: tuple[tuple[int, tuple[float, ...]], ...]
    included: bool = True
    forces: Any = None
    energy: float | None = None


def as_phonopy(content: dict[str, Any], order: int) -> dict[str, Any]:
    """What phonopy would have written about the supercell of this order, without displacements of pairs.

    :param order: 3, or 2 for the supercell that ``--dim-fc2`` made.
    :raises ReferenceError: if there is no such supercell.
    """
    others = ('displacements', 'dataset', 'displacement_pairs', 'displacement_pair_info')
    kept = {k: v for k, v in content.items() if not k.startswith(_PHONON) and k != 'phono3py'}
    header = content.get('phono3py')
    kept['phonopy'] = header if isinstance(header, dict) else {}
    if order == 3:
        return {k: v for k, v in kept.items() if k != 'displacement_pairs'}
    if 'phonon_supercell_matrix' not in content:
        raise ReferenceError('there is no supercell of second order: phonon_supercell_matrix is missing')
    kept = {k: v for k, v in kept.items() if k not in (*others, 'supercell', 'primitive_cell')}
    kept.update({k.removeprefix(_PHONON): v for k, v in content.items() if k.startswith(_PHONON)})
    # as it was called before phono3py 2: beside pairs, plain displacements are those of second order
    if 'displacements' not in kept and 'displacement_pairs' in content and 'displacements' in content:
        kept['displacements'] = content['displacements']
    return kept


def dataset_of(
    candidate: Candidate, content: dict[str, Any], known: dict[str, Any] | None, n_super: int
) -> dict[str, Any] | None:
    """Displacements and forces in phonopy's form, in the units of the files.

    Forces in the YAML go before those of ``FORCES_FC3`` or ``FORCES_FC2``, unless these were named themselves.

    :param content: of phono3py's YAML.
    :param known: what phonopy read of the mapping that :func:`as_phonopy` made of it.
    :param n_super: atoms of the supercell.
    :return: None where there are no forces.
    :raises ReferenceError: if forces are missing, or belong to other displacements.
    """
    file = candidate.files.get(PHONO3PY[candidate.order][1])
    pairs = content.get('displacement_pairs') if candidate.order == 3 else None
    if pairs is None and not (known and 'first_atoms' in known):
        # random displacements of all atoms: as in phonopy
        in_yaml = known is not None and has_forces(known) and not candidate.asked_for
        return known if in_yaml or file is None else dataset_of_force_sets(file, n_super)
    if pairs is not None:
        displaced = list(_of_pairs(pairs))
    else:
        assert known is not None
        displaced = [
            Displaced(
                ((int(one['number']), tuple(one['displacement'])),),
                forces=one.get('forces'),
                energy=one.get('supercell_energy'),
            )
            for one in known['first_atoms']
        ]
    if file is not None and (candidate.asked_for or all(one.forces is None for one in displaced)):
        displaced = _with_forces_of(file, displaced, n_super)
    return None if all(one.forces is None for one in displaced) else _dataset(displaced, n_super)


def _of_pairs(pairs: Any) -> Iterator[Displaced]:
    """Single displacements, then pairs, in the order in which phono3py numbers them."""
    second = []
    try:
        for first in pairs:
            one = (int(first['atom']) - 1, tuple(map(float, first['displacement'])))
            yield Displaced((one,), True, first.get('forces'), first.get('supercell_energy'))
            for entry in first.get('paired_with', first.get('second_atoms', ())):
                atom, included = int(entry['atom']) - 1, bool(entry.get('included', True))
                # several displacements of one atom share an entry as long as there are no forces
                many = entry['displacements'] if 'displacements' in entry else [entry['displacement']]
                for displacement in many:
                    other = (atom, tuple(map(float, displacement)))
                    energy = entry.get('supercell_energy')
                    second.append(Displaced((one, other), included, entry.get('forces'), energy))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ReferenceError(f'displacement_pairs are not as phono3py writes them ({error!r})') from error
    yield from second


def _with_forces_of(file: Path, displaced: list[Displaced], n_super: int) -> list[Displaced]:
    """Blocks of a force file, each with its displacements in comments, given to the displacements of the YAML."""
    blocks: list[tuple[list[list[str]], list[list[str]]]] = []
    in_comment = False
    for words in map(str.split, text_of(file).splitlines()):
        if not words:
            continue
        if words[0].startswith('#'):
            if not in_comment:
                blocks.append(([], []))
            in_comment = True
            blocks[-1][0].append(words)
        elif not blocks:
            raise ReferenceError(f'{file.name} does not begin with a comment line: no forces of displaced supercells')
        else:
            in_comment = False
            blocks[-1][1].append(words)
    if len(blocks) != len(displaced):
        raise ReferenceError(
            f'{file.name} has forces of {len(blocks)} supercells, the displacements make {len(displaced)}: is it of '
            'another phono3py_disp.yaml, or truncated?'
        )
    found = []
    for k, ((comments, lines), one) in enumerate(zip(blocks, displaced, strict=True)):
        _check_comments(file.name, comments, one, k)
        if any(len(line) != 3 for line in lines):
            raise ReferenceError(f'{file.name}: a line of supercell {k + 1} does not hold three numbers')
        forces = checked_forces(lines, n_super, k)
        if one.included and not np.abs(forces).max() > 0:
            raise ReferenceError(
                f'{file.name}: supercell {k + 1} is displaced and has no force on any atom; a pair beyond a cutoff has '
                'to be marked "included: false" in the displacements'
            )
        found.append(replace(one, forces=forces))
    return found


def _check_comments(name: str, comments: list[list[str]], one: Displaced, k: int) -> None:
    """Each displacement stands in a line ``# atom x y z``."""
    try:
        said = [
            (int(words[1]) - 1, tuple(map(float, words[2:])))
            for words in comments
            if len(words) == 5 and words[0] == '#'
        ]
    except ValueError:
        return
    if said and (
        [atom for atom, _ in said] != [atom for atom, _ in one.moves]
        or not np.allclose([u for _, u in said], [u for _, u in one.moves], rtol=0, atol=SAME_DISPLACEMENT)
    ):
        raise ReferenceError(
            f'{name}: supercell {k + 1} moves atom {" and ".join(str(a + 1) for a, _ in said)} by other displacements '
            f'than phono3py_disp.yaml, where it is atom {" and ".join(str(a + 1) for a, _ in one.moves)}'
        )


def _dataset(displaced: list[Displaced], n_super: int) -> dict[str, Any]:
    """Every computed configuration that moves something, once."""
    displacements, forces, energies, seen = [], [], [], set()
    for k, one in enumerate(displaced):
        if not one.included:
            continue
        u = np.zeros((n_super, 3))
        for atom, displacement in one.moves:
            if not 0 <= atom < n_super:
                raise ReferenceError(f'supercell {k + 1} moves atom {atom + 1}, it has {n_super} atoms')
            u[atom] += displacement
        if one.forces is None:
            missing = sum(other.forces is None for other in displaced if other.included)
            raise ReferenceError(
                f'{missing} of {len(displaced)} displaced supercells have no forces, supercell {k + 1} first'
            )
        if np.abs(u).max() < SMALLEST_DISPLACEMENT or (mark := np.round(u, 8).tobytes()) in seen:
            continue
        seen.add(mark)
        displacements.append(u)
        forces.append(checked_forces(one.forces, n_super, k))
        energies.append(one.energy)
    found: dict[str, Any] = {'displacements': np.array(displacements), 'forces': np.array(forces)}
    if None not in energies:
        found['supercell_energies'] = np.array(energies)
    return found
