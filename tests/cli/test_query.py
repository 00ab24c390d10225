"""Questions to rows that are not all as they should be."""

from aiida_mlfc.cli.query import unstable_rows


def row(name, min_frequency, noise_floor=0.01, status='ok'):
    return {'name': name, 'status': status, 'min_frequency': min_frequency, 'noise_floor': noise_floor}


def test_a_frequency_that_is_no_number_does_not_end_the_question():
    rows = [
        row('stable', 0.0),
        row('not a number', None),
        row('noisy', -0.055),
        row('unstable', -0.07),
        row('of unknown noise', -3.0, None),
        row('failed', None, None, 'failed'),
    ]
    below, unknown = unstable_rows(rows, -0.05)
    assert [r['name'] for r in below] == ['unstable']
    assert [r['name'] for r in unknown] == ['not a number', 'of unknown noise']
