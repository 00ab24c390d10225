"""Crystals to look at next: elements substituted by what nature substitutes, duplicates taken out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

from ase import Atoms
from ase.data import chemical_symbols
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor

#: probability below which pymatgen's data mined from the ICSD do not suggest a substitution
THRESHOLD = 1e-3


def distinct(crystals: Mapping[str, Atoms], known: Sequence[Atoms] = ()) -> dict[str, Atoms]:
    """The first of all crystals that are the same up to cell, origin, orientation and volume.

    :param known: crystals of which there is no need of another copy.
    """
    matcher = StructureMatcher(primitive_cell=True, scale=True)
    seen = [AseAtomsAdaptor.get_structure(atoms) for atoms in known]
    found = {}
    for key, atoms in crystals.items():
        structure = AseAtomsAdaptor.get_structure(atoms)
        if any(matcher.fit(structure, other) for other in seen):
            continue
        seen.append(structure)
        found[key] = atoms
    return found


def substituted(atoms: Atoms, elements: Sequence[str], threshold: float = THRESHOLD) -> list[tuple[float, Atoms]]:
    """The crystal with one or several of its elements replaced, by pymatgen's substitution probabilities.

    Ions are replaced by ions of the same charge, and the cell is scaled by their radii (pymatgen's RLS scheme; KCl from
    NaCl within 4 % of the measured volume): a start for a relaxation, not a result.

    :param elements: symbols that the new crystals may hold.
    :param threshold: smallest probability of a substitution (Hautier et al., doi:10.1021/ic102031h).
    :return: probability and crystal, the most probable first; the crystal itself is left out.
    :raises ValueError: if the charges of the ions cannot be guessed: for metals there are no such probabilities.
    """
    from pymatgen.analysis.structure_prediction.substitution_probability import SubstitutionPredictor
    from pymatgen.analysis.structure_prediction.volume_predictor import RLSVolumePredictor
    from pymatgen.core import Species

    unknown = sorted(set(elements) - set(chemical_symbols[1:]))
    if unknown:
        raise ValueError(f'elements: got {", ".join(unknown)}, wanted chemical symbols')
    structure = AseAtomsAdaptor.get_structure(atoms)
    structure.add_oxidation_state_by_guess()
    ions = sorted({site.specie for site in structure}, key=str)
    if not all(isinstance(ion, Species) and ion.oxi_state for ion in ions):
        raise ValueError(
            f'{structure.composition.reduced_formula}: no charges could be guessed, and substitution probabilities '
            'are those of ions: give candidates yourself'
        )
    found = []
    for entry in SubstitutionPredictor(threshold=threshold).list_prediction(ions, to_this_composition=False):
        swaps = entry['substitutions']
        allowed = all(new.symbol in elements and new.oxi_state == old.oxi_state for old, new in swaps.items())
        if not allowed or all(new == old for old, new in swaps.items()):
            continue
        other: Structure = structure.copy()
        other.replace_species(swaps)
        # where no radius is known, the volume stays
        with suppress(KeyError, ValueError):
            other = RLSVolumePredictor().get_predicted_structure(other, structure)
        other.remove_oxidation_states()
        found.append((float(entry['probability']), AseAtomsAdaptor.get_atoms(other, msonable=False)))
    return sorted(found, key=lambda pair: -pair[0])
