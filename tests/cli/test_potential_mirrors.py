"""``aiida-mlfc potential train`` and ``evaluate`` where -u is held back and +u was learned: card and table agree."""

import json
from io import StringIO

import pytest
import yaml

from aiida_mlfc.core.checkpoint_files import read_header
from aiida_mlfc.core.comparison.card_metrics import OF_ALL, REFERENCE_CONSTANTS
from aiida_mlfc.reports.evaluation_table import print_evaluations

from ..core.toy_mirrors import write_mirrors
from ..spring_sets import write_springs
from .test_potential_evaluate import SAME

CONFIG = {
    'model': {'channels': 4, 'n_heads': 2, 'n_layers': 1, 'cutoff': 3.2, 'radial_width': 8, 'n_radial': 4,
              'pair_cutoff': 5.0, 'triplet_cutoff': 4.0},
    'uncertainty_members': 3,
}  # fmt: skip


@pytest.fixture(scope='module')
def trained(make_command, tmp_path_factory):
    """Plus-minus pairs in zincblende, and random displacements in rock salt; an expansion each."""
    folder, command = tmp_path_factory.mktemp('train'), make_command()
    write_mirrors(folder / 'sets' / 'mirrored')
    write_springs(folder / 'sets' / 'random', formula='MgO', lattice=4.2)
    (folder / 'config.yaml').write_text(yaml.safe_dump(CONFIG))
    output = folder / 'both.safetensors'
    done = command(
        'potential', 'train', '--reference', folder / 'sets', '-o', output, '--config', folder / 'config.yaml', '--json'
    )
    assert done.returncode == 0, done.stderr
    return command, {row['name']: row for row in json.loads(done.stdout)}, output, folder / 'sets'


def test_card_says_what_was_compared(trained):
    _, rows, output, _ = trained
    card = read_header(output).card
    errors = {row['material']: row for row in card['errors on configurations never seen']}
    assert errors['mirrored'][REFERENCE_CONSTANTS] == rows['mirrored']['reference_force_constants'] == OF_ALL
    assert REFERENCE_CONSTANTS not in errors['random']
    assert rows['random']['reference_force_constants'] is None
    # forces are those of the half
    assert errors['mirrored']['n_configurations'] == 2
    assert card['uncertainty']['calibrated on'] == 'held back: mirrored, random'


def test_evaluate_says_what_the_card_says(trained):
    command, rows, output, sets = trained
    arguments = ('potential', 'evaluate', '--potential', output, '--reference', sets)
    found = {row['name']: row for row in json.loads(command(*arguments, '--json').stdout)}
    errors = {row['material']: row for row in read_header(output).card['errors on configurations never seen']}
    for name, row in found.items():
        assert row['part'] == 'held-back'
        assert row['reference_force_constants'] == rows[name]['reference_force_constants']
        for of_card, of_row, factor in SAME:
            assert factor * row[of_row] == pytest.approx(errors[name][of_card], rel=1e-4, abs=1e-6), (name, of_row)
    # all of them are the same reference, and nothing need be said of it
    whole = {row['name']: row for row in json.loads(command(*arguments, '--part', 'all', '--json').stdout)}
    assert whole['mirrored']['reference_force_constants'] is None
    assert whole['mirrored']['frequency_mae'] == pytest.approx(found['mirrored']['frequency_mae'], rel=1e-9)
    assert whole['mirrored']['force_rmse'] != found['mirrored']['force_rmse']
    table = StringIO()
    print_evaluations(list(found.values()), table)
    assert 'mirrored (held back, Φ of all)' in table.getvalue()
    assert 'random (held back) ' in table.getvalue()
    assert f'frequencies are compared with those {OF_ALL}' in table.getvalue()
