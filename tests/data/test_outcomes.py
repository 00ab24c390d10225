"""What the results of the tasks say ends up in the row."""

from aiida_mlfc.data.outcomes import relaxation_warnings


def test_a_fallback_of_the_optimiser_is_a_warning():
    steps = [{'status': 'ok', 'fallback': None}, {'status': 'ok', 'fallback': 'no step goes down'}, {'status': 'ok'}]
    assert relaxation_warnings(steps) == ['relaxed by BFGS; Newton gave up: no step goes down']
    assert relaxation_warnings([]) == []
