"""Options of a task: kinds, and ranges that no comparison with NaN slips through."""

import pytest
import yaml

from aiida_mlfc.exchange.job import JobFileError
from aiida_mlfc.runner.options import ABOVE_ZERO, NOT_BELOW_ZERO, OPTIONS, read_options

NAN, INFINITE = float('nan'), float('inf')


@pytest.mark.parametrize(
    ('task', 'values'),
    [
        # the way it comes in: a job file
        ('displace', yaml.safe_load('threshold: .nan')),
        ('displace', {'mesh': [2, 2, NAN]}),
        ('relax', {'fmax': NAN}),
        ('relax', {'smax': INFINITE}),
        ('force_constants', {'symprec': NAN}),
        ('force_constants', {'supercell_matrix': [[2, 0, 0], [0, NAN, 0], [0, 0, 2]]}),
        ('phonons', {'mesh_length': NAN}),
        ('train', {'lr': NAN}),
        ('train', {'recipe': {'clip': INFINITE}}),
    ],
)
def test_numbers_are_finite(task, values):
    (name,) = values
    with pytest.raises(JobFileError, match=rf'option {name}: got .*wanted finite numbers'):
        read_options(task, values)


@pytest.mark.parametrize(
    ('task', 'name', 'value'),
    [
        ('force_constants', 'supercell_length', -1.0),
        ('force_constants', 'distance', 0.0),
        ('force_constants', 'truncation_qpoints', -1),
        ('relax', 'fmax', 0.0),
        ('relax', 'steps', -1),
        ('displace', 'threshold', -0.05),
        ('displace', 'symprec', 0),
        ('phonons', 'points_per_segment', 0),
        ('train', 'minutes', -5),
    ],
)
def test_ranges(task, name, value):
    with pytest.raises(JobFileError, match=f'option {name}: got {value!r}, wanted'):
        read_options(task, {name: value})


def test_what_means_none_passes():
    assert read_options('force_constants', {'truncation_qpoints': 0}).truncation_qpoints == 0
    assert read_options('displace', {'directions': 0, 'threshold': 0.0}).directions == 0
    assert read_options('relax', {'steps': 0}).steps == 0


def test_every_range_is_that_of_an_option():
    """A name that no task has any more would check nothing."""
    names = {name for kind in OPTIONS.values() for name in kind.__dataclass_fields__}
    assert names >= ABOVE_ZERO | NOT_BELOW_ZERO
