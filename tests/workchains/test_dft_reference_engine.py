"""The contract of a force engine, with the cheapest one: EMT through ``mlfc.ase_reference``."""

import numpy as np
import pytest
from aiida.engine import run_get_node
from aiida.orm import ArrayData, Dict, QueryBuilder, StructureData
from ase.build import bulk
from ase.calculators.emt import EMT
from phonopy import Phonopy

from aiida_mlfc.calculations.ase_forces import ase_calculator
from aiida_mlfc.calculations.references import nac_of_ph
from aiida_mlfc.core.structures.cells import to_ase, to_phonopy
from aiida_mlfc.workchains.ase_reference import AseReferenceWorkChain

CALCULATOR = {'module': 'ase.calculators.emt', 'name': 'EMT', 'arguments': {}}


def run(atoms, **overrides):
    builder = AseReferenceWorkChain.get_builder_from_protocol(
        StructureData(ase=atoms), CALCULATOR, overrides=overrides, functional='EMT'
    )
    return run_get_node(builder)


def test_equals_phonopy_alone(aiida_profile):
    """Work chain and bare phonopy with the same calculator: the same numbers, and nothing without an origin."""
    atoms = bulk('Cu', 'fcc', a=3.6)
    outputs, node = run(atoms, supercell_matrix=[3, 3, 3])
    assert node.is_finished_ok, node.exit_message
    force_constants = outputs['force_constants']
    phonon = Phonopy(to_phonopy(atoms), supercell_matrix=[3, 3, 3], primitive_matrix='P', log_level=0)
    phonon.generate_displacements(distance=0.01)
    sets = []
    for cell in phonon.supercells_with_displacements:
        displaced = to_ase(cell)
        displaced.calc = EMT()
        sets.append(displaced.get_forces())
    phonon.forces = sets
    phonon.produce_force_constants(calculate_full_force_constants=False, show_drift=False)
    phonon.symmetrize_force_constants(show_drift=False)
    np.testing.assert_allclose(force_constants.get_array('force_constants'), phonon.force_constants, atol=1e-8)
    assert np.abs(phonon.force_constants).max() > 1
    attributes = force_constants.base.attributes
    assert attributes.get('quality')['n_directions'] == len(sets) == 1
    assert attributes.get('quality')['distance'] == pytest.approx(0.01)
    assert attributes.get('reference')['functional'] == 'EMT'
    assert node.uuid in attributes.get('reference')['source']
    query = QueryBuilder().append(type(force_constants), filters={'uuid': force_constants.uuid}, tag='here')
    ancestors = query.append(StructureData, with_descendants='here', project='uuid').all(flat=True)
    assert node.inputs.structure.uuid in ancestors
    assert 'forces_0' in outputs['supercells_forces']


def alloy():
    """Two elements in a cell with a free coordinate: forces at rest that symmetry does not forbid."""
    atoms = bulk('CuAu', 'cesiumchloride', a=3.2) * (1, 1, 2)
    atoms.numbers[2] = 47
    atoms.positions[1, 2] += 0.02
    return atoms


def test_unrelaxed_structure_is_refused(aiida_profile):
    """There is no harmonic crystal where forces do not vanish; the message has both numbers."""
    outputs, node = run(alloy(), supercell_matrix=[1, 1, 1])
    assert node.exit_status == AseReferenceWorkChain.spec().exit_codes.ERROR_RESIDUAL_FORCES.status
    assert 'wanted at most 1.00e-03' in node.exit_message
    assert 'force_constants' not in outputs


def test_residual_forces_are_subtracted(aiida_profile):
    """With the limit raised, the force constants are those of central differences, not forces over a step."""
    atoms = alloy()
    outputs, node = run(atoms, supercell_matrix=[1, 1, 1], max_residual_force=10.0)
    assert node.is_finished_ok, node.exit_message
    force_constants = outputs['force_constants']
    residual = force_constants.base.attributes.get('quality')['max_residual_force']
    assert residual > 0.05
    step, cell = 1e-3, outputs['phonopy_data'].get_unitcell().get_ase()
    columns = np.zeros((len(cell), 3, len(cell), 3))
    for k, axis in np.ndindex(len(cell), 3):
        for sign in (1, -1):
            moved = cell.copy()
            moved.positions[k, axis] += sign * step
            moved.calc = EMT()
            columns[k, axis] -= sign * moved.get_forces() / (2 * step)
    exact = columns.transpose(0, 2, 1, 3)
    found = force_constants.get_array('force_constants')
    # one-sided steps of 0.01 Å leave the third order; unsubtracted forces would be off by residual / 0.01
    assert np.abs(found - exact).max() < 0.05 * np.abs(exact).max()
    assert residual / 0.01 > 0.5 * np.abs(exact).max()


def test_only_displacements_that_the_solver_takes(aiida_profile):
    builder = AseReferenceWorkChain.get_builder_from_protocol(StructureData(ase=bulk('Cu', 'fcc', a=3.6)), CALCULATOR)
    builder.displacement_generator = Dict({'distance': 0.02, 'is_diagonal': False})
    for wrong in ({'number_of_snapshots': 10}, {'distance': 'far'}):
        with pytest.raises(ValueError, match=r'displacement_generator|Displacement options'):
            builder.displacement_generator = Dict(wrong)


def test_calculators_that_are_none():
    assert isinstance(ase_calculator(CALCULATOR), EMT)
    with pytest.raises(ValueError, match='cannot be imported'):
        ase_calculator({'module': 'ase.calculators.emt', 'name': 'EMPTY'})
    with pytest.raises(ValueError, match='is no ASE calculator'):
        ase_calculator({'module': 'pathlib', 'name': 'Path'})
    with pytest.raises(ValueError, match='wanted module, name and arguments'):
        ase_calculator({'module': 'ase.calculators.emt', 'class': 'EMT'})


#: ph.x 6.7 of a distorted MgO cell without symmetry, as it stands in tensors.xml: rows are displacements
BORN_IN_FILE = [
    [[1.91016, 0.03980, 0.06227], [0.03468, 1.94251, 0.04426], [0.08485, 0.07544, 1.82697]],
    [[-2.21632, 0.72269, 0.83200], [0.72908, -2.12091, 0.89927], [0.80677, 0.86389, -2.17971]],
]
#: the same run's standard output: rows Ex, Ey, Ez, columns displacements
BORN_PRINTED = [[1.91017, 0.03469, 0.08486], [0.03981, 1.94251, 0.07545], [0.06228, 0.04427, 1.82697]]


def test_born_charges_of_ph(aiida_profile):
    """Field first, displacement second, as phonopy wants it; and neutral."""
    dielectric = [[3.32, -0.66, -0.62], [-0.66, 3.28, -0.72], [-0.62, -0.72, 3.20]]
    node = nac_of_ph(Dict({'dielectric_constant': dielectric, 'effective_charges_eu': BORN_IN_FILE}))
    born = node.get_array('born_charges')
    mean = (np.array(BORN_IN_FILE[0]) + np.array(BORN_IN_FILE[1])).T / 2
    np.testing.assert_allclose(born[0] + mean, BORN_PRINTED, atol=2e-5)
    np.testing.assert_allclose(born.sum(axis=0), 0, atol=1e-12)
    assert isinstance(node, ArrayData)
    assert node.base.attributes.get('largest_charge_sum') == pytest.approx(np.abs(2 * mean).max())
    with pytest.raises(ValueError, match='got no effective_charges_eu'):
        nac_of_ph(Dict({'dielectric_constant': dielectric}))
