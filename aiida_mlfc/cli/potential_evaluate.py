"""``aiida-mlfc potential evaluate``: errors of a potential on references, as its card would quote them."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import click


@click.command('evaluate')
@click.option('--potential', required=True, metavar='NAME|FILE', help='A shipped or published name, or a checkpoint.')
@click.option(
    '--reference',
    'references',
    multiple=True,
    required=True,
    type=click.Path(path_type=Path),
    metavar='PATH',
    help='phonopy.yaml, FORCE_SETS, FORCE_CONSTANTS, extended XYZ, a folder or archive of them; any number of times.',
)
@click.option(
    '--part',
    type=click.Choice(['auto', 'held-back', 'all']),
    default='auto',
    show_default=True,
    help='Configurations: every second, those that training by this package holds back; all; or held-back for what '
    'the card of the potential names among its training data and all for the rest. Where the card says that nothing '
    'was held back, as of force constants without forces, all are compared and the row says that they were learned.',
)
@click.option('--json', 'as_json', is_flag=True, help='Print JSON instead of a table.')
@click.option('--supercell', nargs=3, type=click.IntRange(min=1), default=None, help='Where the files do not say.')
@click.option('--symprec', type=click.FloatRange(min=0, min_open=True), default=None, help='Å; by default as stored.')
@click.option('--device', default='cpu', show_default=True, help='Where the potential is evaluated.')
@click.option('--work', type=click.Path(file_okay=False, path_type=Path), help='Keep job folders here.')
def command(potential: str, references: tuple[Path, ...], as_json: bool, **arguments: Any) -> None:
    """Measure a potential on references, at their geometry.

    \b
    In the JSON of each reference, b being the potential and a the reference:
      reference_force_constants   said where they are of more configurations than those that are held back, which are
                            mirrors (-u) of those learned; forces are compared on those held back alone
      relative_frobenius    |Φ_b - Φ_a| / |Φ_a|; predict_zero is what predicting no force at all gives, pair_springs
                            what the best pair potential does: two springs a shell, fitted to the reference itself
      frequency_mae, _max_error, _predict_zero, _pair_springs   THz, on a 6x6x6 mesh without NAC, as in model cards
      force_rmse, force_predict_zero, max_force_at_rest   meV/Å
      min_frequency, min_frequency_reference     THz, with NAC where the reference has Born charges
      stability             true or false, stable or unstable: the verdict of the potential at -0.05 THz
      free_energy_error     b - a at 300 K, kJ/mol; entropy_error in J/K/mol
      max_stress            GPa, of the reference's cell
      lowest_elastic_constant   GPa, the smallest eigenvalue of the potential's elastic tensor, ions relaxed: below zero
                            the crystal gives way to some strain
      shells                by distance (Å): number of pairs, MAE and rms size of the elements (eV/Å²)

    Exit code 0: every reference was evaluated; 1: some could not be, their rows say why.
    """
    from aiida_mlfc.cli.evaluating import Evaluation
    from aiida_mlfc.cli.potential_jobs import potential_file
    from aiida_mlfc.core.checkpoint_header import CheckpointError
    from aiida_mlfc.core.references.settings import Settings
    from aiida_mlfc.reports.evaluation_table import print_evaluations
    from aiida_mlfc.reports.plain_json import json_text

    with tempfile.TemporaryDirectory(prefix='mlfc-evaluate-') as temporary:
        try:
            evaluation = Evaluation(
                potential_file(potential),
                arguments['work'] or Path(temporary),
                arguments['part'],
                Settings(supercell_matrix=arguments['supercell'], symprec=arguments['symprec']),
                arguments['device'],
            )
            rows = list(evaluation.rows(references))
        except (CheckpointError, RuntimeError, FileNotFoundError) as error:
            raise click.ClickException(str(error)) from error
    if not rows:
        raise click.ClickException(f'there is no reference in {", ".join(map(str, references))}')
    if as_json:
        click.echo(json_text(rows, indent=2))
    else:
        print_evaluations(rows)
    sys.exit(1 if any(row['status'] != 'ok' for row in rows) else 0)
