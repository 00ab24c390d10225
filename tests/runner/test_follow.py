"""Following modes of a crystal whose wells are known in closed form."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from aiida_mlfc.core.potentials.validity import MAX_DISPLACEMENT, OutsideTrainingError
from aiida_mlfc.core.units import FREQUENCY_FACTOR_THZ
from aiida_mlfc.runner import displacing
from aiida_mlfc.runner.follow import follow_modes

from .wells import LATTICE, DoubleWellBonds, simple_cubic


def lowest(energy) -> tuple[float, float]:
    """Amplitude (Å) and depth (meV/atom) of a double well."""
    found = minimize_scalar(energy, bounds=(0.0, 0.3), method='bounded', options={'xatol': 1e-12})
    return found.x, 1000 * found.fun


@pytest.fixture(scope='module')
def wells():
    return DoubleWellBonds()


def test_zone_boundary_mode_doubles_the_cell_and_ends_at_the_analytic_minimum(wells):
    found = follow_modes(
        simple_cubic(), wells, generations=1, mesh=(2, 1, 1), relax_cell=False, confirm_mesh=None, fmax=1e-8
    )
    root, child = found.nodes
    amplitude, depth = lowest(wells.planes)
    assert root.verdict == 'unstable'
    assert [m['qpoint'] for m in root.modes] == [[0.5, 0.0, 0.0]]
    # ω² m = V''(bonds): second derivative of the energy of the wave, by the closed form
    h = 1e-3
    curvature = (wells.planes(h) - 2 * wells.planes(0) + wells.planes(-h)) / h**2
    mass = 26.9815385
    expected = -FREQUENCY_FACTOR_THZ * np.sqrt(-curvature / mass)
    assert root.modes[0]['frequency'] == pytest.approx(expected, rel=1e-3)
    assert child.parent == 0
    assert child.n_atoms == 2
    assert child.spacegroup == 'P4/mmm (123)'
    assert child.energy == pytest.approx(depth, rel=1e-6)
    assert child.via['amplitude'] == pytest.approx(amplitude, rel=0.05)
    # the two atoms stand 2u nearer than half the doubled period
    cell = found.cells[1]
    assert cell.get_distance(0, 1, mic=True) == pytest.approx(LATTICE - 2 * amplitude, abs=1e-6)
    assert child.verdict in ('stable', 'budget')


def test_followed_to_a_stable_crystal(wells):
    """Of all waves that fit into 2x2x2 the ones with every neighbour opposite win, and of those the diagonal."""
    found = follow_modes(simple_cubic(), wells, generations=1, relax_cell=False)
    assert found.outcome['state'] == 'stable', [n.to_dict() for n in found.nodes]
    best = found.nodes[found.outcome['stable']]
    assert (best.spacegroup, best.via['direction']) == ('R-3m (166)', '[1 1 1]')
    assert best.lowest_frequency > 0
    assert best.confirmed_frequency > 0
    assert best.reason == 'no imaginary mode at the wave vectors searched, nor on a denser mesh'
    by_group = {n.spacegroup: n for n in found.nodes}
    assert by_group['I4/mmm (139)'].energy == pytest.approx(lowest(wells.all_neighbours)[1], rel=1e-6)
    assert by_group['P4/mmm (123)'].energy == pytest.approx(lowest(wells.planes)[1], rel=1e-6)
    assert [n.identifier for n in found.nodes] == list(range(len(found.nodes)))
    assert {n.verdict for n in found.nodes[1:]} == {'stable', 'budget'}


def test_children_are_followed_in_turn(wells):
    found = follow_modes(
        simple_cubic(), wells, generations=2, children=1, mesh=(2, 1, 1), relax_cell=False, confirm_mesh=None
    )
    assert max(n.generation for n in found.nodes) == 2
    for node in found.nodes[1:]:
        assert node.energy < found.nodes[node.parent].energy
        assert node.generation == found.nodes[node.parent].generation + 1


def test_a_stable_crystal_has_no_children():
    found = follow_modes(simple_cubic(), DoubleWellBonds(softening=-2.0), relax_cell=False)
    (root,) = found.nodes
    assert (root.verdict, root.modes) == ('stable', [])
    assert root.confirmed_frequency > 0
    assert found.outcome == {'state': 'stable', 'lowest': 0, 'stable': 0, 'n_crystals': 1}


def test_stable_at_the_wave_vectors_searched_is_not_enough(wells):
    """At Γ alone the crystal has no mode at all; the denser mesh sees what is wrong, and where."""
    found = follow_modes(simple_cubic(), wells, mesh=(1, 1, 1), confirm_mesh=(2, 2, 2), relax_cell=False)
    (root,) = found.nodes
    assert (root.verdict, root.modes) == ('elsewhere', [])
    assert root.confirmed_frequency < -8
    assert '0.500 0.500 0.500' in root.reason
    assert found.outcome['state'] == 'budget'


def test_the_budget_ends_it_and_says_so(wells):
    found = follow_modes(simple_cubic(), wells, generations=0, relax_cell=False)
    (root,) = found.nodes
    assert (root.verdict, root.reason) == ('budget', 'generation 0 is the last one')
    assert found.outcome['state'] == 'budget'
    small = follow_modes(simple_cubic(), wells, max_atoms=1, relax_cell=False)
    assert small.nodes[0].verdict == 'budget'
    assert 'larger supercells' in small.nodes[0].reason


def test_an_energy_without_a_floor_is_an_error_beside_the_distortion():
    """Bonds that only soften: the frozen line has no minimum, and no relaxation ends."""
    found = follow_modes(
        simple_cubic(), DoubleWellBonds(hardening=0.0), generations=1, mesh=(2, 1, 1), relax_cell=False, steps=30
    )
    root = found.nodes[0]
    assert root.dropped or not found.nodes[1].via['is_bounded'] or found.nodes[1].verdict != 'stable'


def test_cells_are_not_relaxed_without_labels(wells):
    with pytest.raises(OutsideTrainingError, match='stress'):
        follow_modes(simple_cubic(), wells)


def test_one_crystal_that_cannot_be_displaced_does_not_take_the_tree_with_it(wells, monkeypatch):
    """As where modes are not closed under the symmetry, or a supercell does not fit into memory: of one child."""
    original = displacing.distortions

    def refusing(primitive, mode, masses, symprec, most):
        if len(primitive) > 1:
            raise RuntimeError('the degenerate modes are not closed under the space group')
        return original(primitive, mode, masses, symprec, most)

    monkeypatch.setattr(displacing, 'distortions', refusing)
    found = follow_modes(
        simple_cubic(), wells, generations=2, children=1, mesh=(2, 1, 1), relax_cell=False, confirm_mesh=None
    )
    assert found.nodes[0].verdict == 'unstable'
    (child,) = found.nodes[1:]
    assert (child.verdict, child.parent) == ('failed', 0)
    assert child.reason == 'not displaced: RuntimeError: the degenerate modes are not closed under the space group'
    assert found.outcome['state'] == 'failed'


@pytest.mark.parametrize(('share', 'n_children'), [(1.05, 1), (0.7, 0)])
def test_displacements_count_from_the_crystal_that_was_displaced(share, n_children):
    """Planes that move by u: shown 0.7 u, the line search and the relaxation together would reach u."""
    wells = DoubleWellBonds()
    amplitude, _ = lowest(wells.planes)
    wells.metadata = {'validity': {MAX_DISPLACEMENT: share * amplitude}}
    found = follow_modes(
        simple_cubic(), wells, generations=1, mesh=(2, 1, 1), relax_cell=False, confirm_mesh=None, fmax=1e-8
    )
    root, children = found.nodes[0], found.nodes[1:]
    assert len(children) == n_children
    if not children:
        (entry,) = root.dropped
        assert f'moved {amplitude:.3f} Å from its place in crystal 0' in entry['reason']
        assert root.verdict == 'failed'
