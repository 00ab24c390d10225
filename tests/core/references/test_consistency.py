"""Exchanged forces break the symmetry of their crystal: refused in one configuration and in all; sound sets pass."""

from dataclasses import replace

import numpy as np
import pytest

from aiida_mlfc.core.force_constants.symmetrising import projected
from aiida_mlfc.core.references.consistency import LARGEST_EVIDENCE, check_forces, check_on_site
from aiida_mlfc.core.references.finding import find
from aiida_mlfc.core.references.fitting import fit
from aiida_mlfc.core.references.force_sets import ForceSets, ReferenceError, from_dataset
from aiida_mlfc.core.references.reading import read_reference
from aiida_mlfc.core.references.record import Refusal

#: sound ones of several kinds: one displacement, random ones, a rounded lattice, soft modes
SOUND = ('Si_DynaPhoPy', 'SnO2_222_rd_symfc', 'BaTiO3_R3m_aiida_QE', 'CaTiO3_vasp')


def sets_of(phonon) -> ForceSets:
    return from_dataset(phonon.dataset, len(phonon.supercell))


def swapped(sets: ForceSets, i: int, j: int, configurations) -> ForceSets:
    forces = sets.forces.copy()
    for k in configurations:
        forces[k, [i, j]] = forces[k, [j, i]]
    return replace(sets, forces=forces)


def different_pairs(sets: ForceSets, n: int):
    """Pairs of atoms whose forces differ by a tenth of the largest or more."""
    sizes = np.linalg.norm(sets.forces[0], axis=1)
    apart = np.linalg.norm(sets.forces[0][:, None] - sets.forces[0][None], axis=2)
    i, j = np.nonzero(np.triu(apart > 0.1 * sizes.max(), 1))
    chosen = np.random.default_rng(1).choice(len(i), n, replace=False)
    return list(zip(i[chosen], j[chosen], strict=True))


def check(phonon, sets: ForceSets) -> None:
    """All that is checked when a reference is read."""
    found = fit(phonon, sets)
    check_forces(found)
    primitive = phonon.primitive
    s2pp = np.array([primitive.p2p_map[atom] for atom in primitive.s2p_map])
    check_on_site(found.array, np.array(primitive.p2s_map), s2pp)


def test_a_sound_set_passes(phonon):
    assert check_forces(fit(phonon, sets_of(phonon))) < LARGEST_EVIDENCE


@pytest.mark.parametrize('everywhere', [False, True], ids=['one configuration', 'all configurations'])
def test_exchanged_forces_are_refused(phonon, everywhere):
    sets = sets_of(phonon)
    for i, j in different_pairs(sets, 6):
        bad = swapped(sets, i, j, range(len(sets.forces)) if everywhere else [0])
        with pytest.raises(ReferenceError, match=r'exchanged|symmetric harmonic|pushed away|bound'):
            check(phonon, bad)


def test_the_atoms_are_named(phonon):
    sets = sets_of(phonon)
    i, j = different_pairs(sets, 1)[0]
    with pytest.raises(ReferenceError) as error:
        check_forces(fit(phonon, swapped(sets, i, j, [0])))
    assert 'configuration' in str(error.value)


def test_forces_at_rest_are_told_from_force_constants(phonon):
    """Uniform forces that the space group allows are found and do not disturb; here it allows none."""
    sets = sets_of(phonon)
    plain = fit(phonon, sets)
    assert not plain.at_rest.any()
    # the same crystal seen as having no symmetry allows any
    from phonopy import Phonopy

    lower = Phonopy(
        phonon.unitcell, phonon.supercell_matrix, primitive_matrix='P', is_symmetry=False, log_level=0
    )
    lower.generate_displacements(distance=0.01, is_plusminus=True)
    at_rest = np.repeat(np.random.default_rng(0).normal(size=(4, 3)), 8, axis=0)
    at_rest -= at_rest.mean(axis=0)
    from phonopy.harmonic.force_constants import compact_fc_to_full_fc

    full = compact_fc_to_full_fc(phonon.primitive, plain.array)
    displacements = np.zeros((len(lower.dataset['first_atoms']), len(lower.supercell), 3))
    for k, entry in enumerate(lower.dataset['first_atoms']):
        displacements[k, entry['number']] = entry['displacement']
    forces = at_rest - np.einsum('ijab,cjb->cia', full, displacements)
    numbers = np.array([entry['number'] for entry in lower.dataset['first_atoms']])
    found = fit(lower, ForceSets(displacements, forces, numbers, 0.0))
    np.testing.assert_allclose(found.at_rest, at_rest, atol=1e-6)
    np.testing.assert_allclose(found.array, plain.array, atol=1e-5)


def test_missing_displacements_are_refused(phonon):
    """Copper alone is displaced: the force constants of gold are free."""
    sets = sets_of(phonon)
    keep = [k for k, atom in enumerate(sets.one_atom) if phonon.supercell.symbols[atom] == 'Cu']
    part = ForceSets(sets.displacements[keep], sets.forces[keep], sets.one_atom[keep], 0.0)
    with pytest.raises(ReferenceError, match=r'\(Au\) is displaced in 0 of 3 directions'):
        fit(phonon, part)


def test_large_displacements_are_refused():
    displacements, forces = np.full((1, 2, 3), 0.2), np.zeros((1, 2, 3))
    with pytest.raises(ReferenceError, match=r'displaced by up to 0.346 Å'):
        from_dataset({'displacements': displacements, 'forces': forces}, 2)


def test_projection_is_idempotent_and_keeps_what_is_symmetric(phonon):
    once = projected(phonon, phonon.force_constants)
    np.testing.assert_allclose(projected(phonon, once), once, atol=1e-12)
    fitted = fit(phonon, sets_of(phonon)).array
    np.testing.assert_allclose(projected(phonon, fitted), fitted, atol=1e-10)


@pytest.mark.parametrize('name', SOUND)
def test_sound_dft_sets_pass_and_exchanged_ones_do_not(dft_references, name):
    """From the rhombohedral cell of eight digits symfc loses force constants unless its lattice is made exact."""
    reference = read_reference(next(find(dft_references / name)))
    assert reference.checks.swap_evidence < 5.5
    assert reference.checks.relative_residual < 0.07
    phonon = reference.force_constants.to_phonopy()
    import phonopy

    stored = next((dft_references / name).glob('phonopy_params.yaml*'))
    sets = from_dataset(phonopy.load(stored, produce_fc=False, log_level=0).dataset, len(phonon.supercell))
    for i, j in different_pairs(sets, 1):
        for configurations in ([0], range(len(sets.forces))):
            with pytest.raises(ReferenceError):
                check_forces(fit(phonon, swapped(sets, i, j, configurations)))


def test_unusable_dft_sets_say_why(dft_references):
    from aiida_mlfc.core.references.reading import read_references

    found = list(read_references([dft_references / 'BaTiO3_cubic_alamode_aimd', dft_references / 'MgO_222rd']))
    assert all(isinstance(item, Refusal) for item in found)
    assert 'displaced by up to 0.351 Å' in found[0].error
    assert 'no perfect supercell' in found[1].error
