"""``aiida-mlfc reference``: DFT force constants into the profile, from files or computed with Quantum ESPRESSO."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click


@click.group('reference')
def command() -> None:
    """References: force constants that potentials are measured against."""


@command.command('import')
@click.argument('paths', nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option('--json', 'as_json', is_flag=True, help='Print one row for each reference as JSON.')
@click.pass_context
def import_references_command(ctx: click.Context, paths: tuple[Path, ...], as_json: bool) -> None:
    """Import references from PATHS: phonopy.yaml, FORCE_SETS + POSCAR, FORCE_CONSTANTS, BORN, folders and archives.

    The same content is imported once, so an interrupted import is continued by the same command. Exit code 0: every
    reference is in; 1: some are not and their rows say why.
    """
    from aiida_mlfc.cli.profile import load_or_create_profile
    from aiida_mlfc.cli.reference_import import import_references

    load_or_create_profile(ctx.obj['profile'])
    rows = []
    for row in import_references(paths):
        rows.append(row)
        if not as_json:
            click.echo(f'{row.status:9} {row.name:40} {row.formula:12} {row.error or row.uuid}')
    if as_json:
        click.echo(json.dumps([asdict(row) for row in rows], indent=2, ensure_ascii=False))
    counts = {status: sum(row.status == status for row in rows) for status in ('imported', 'known', 'failed')}
    click.echo(', '.join(f'{count} {status}' for status, count in counts.items()), err=True)
    if not rows:
        raise click.ClickException(f'found no reference in {", ".join(map(str, paths))}')
    sys.exit(1 if counts['failed'] else 0)


@command.command('list')
@click.option('--json', 'as_json', is_flag=True)
@click.pass_context
def list_references(ctx: click.Context, as_json: bool) -> None:
    """The references in the profile."""
    from aiida_mlfc.cli.profile import load_or_create_profile
    from aiida_mlfc.core.structures.formula import reduced_formula
    from aiida_mlfc.data.references import KEY_REFERENCE, NOT_STATED, all_references

    load_or_create_profile(ctx.obj['profile'])
    rows = []
    for node in all_references():
        attributes = node.base.attributes.all
        known = attributes[KEY_REFERENCE]
        rows.append(
            {
                'uuid': node.uuid,
                'name': node.label,
                'formula': reduced_formula(node.get_unitcell().get_ase()),
                'n_supercell_atoms': round(len(node.numbers) * _determinant(node.supercell_matrix)),
                'functional': known.get('functional', NOT_STATED),
                'licence': known.get('licence', NOT_STATED),
                'source': known.get('source', NOT_STATED),
                'nac': 'born_charges' in node.get_arraynames(),
                'max_residual_force': attributes.get('quality', {}).get('max_residual_force'),
            }
        )
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    for row in rows:
        nac = 'NAC' if row['nac'] else ''
        click.echo(
            f'{row["uuid"][:8]} {row["formula"]:12} {row["n_supercell_atoms"]:5} atoms {nac:3} '
            f'{row["functional"]:14} {row["name"]:30} {row["source"]}'
        )


def _determinant(matrix: Any) -> float:
    import numpy as np

    return abs(float(np.linalg.det(np.asarray(matrix, dtype=float))))


@command.command('compare')
@click.argument('names', nargs=-1)
@click.option(
    '--potential', 'potential_name', default='dx-demo', show_default=True, help='A name, or a checkpoint file.'
)
@click.option('--protocol', default=None, help='fast, balanced (default) or stringent; for relaxation.')
@click.option('--relax/--no-relax', default=True, show_default=True, help="Also at the potential's own geometry.")
@click.option('--relax-cell', is_flag=True, help='Relax the cell too; needs a potential trained on stress.')
@click.option('--steps', default='0.01,0.02', show_default=True, help='Finite-difference steps, Å; empty for none.')
@click.option('--nac', type=click.Choice(['shared', 'off']), default='shared', show_default=True)
@click.option('--code', 'code_label', default=None, help='Code label; by default mlfc-run on this machine.')
@click.option('--options', 'options_file', type=click.File(), help='YAML with metadata.options of the jobs.')
@click.option('--concurrent', type=click.IntRange(min=1), default=2, show_default=True, help='Jobs at the same time.')
@click.option('--json', 'as_json', is_flag=True, help='Print rows, parts of the errors and aggregate as JSON.')
@click.option('--output', '-o', type=click.Path(dir_okay=False, path_type=Path), help='Also write an HTML page.')
@click.pass_context
def compare_references(ctx: click.Context, names: tuple[str, ...], **arguments: Any) -> None:
    """Compare a potential with the references NAMES (or uuids) of the profile, all by default; with provenance.

    Autograd, finite differences and reference side by side, at the reference's geometry and at the potential's own.
    Exit code 0: everything was compared; 1: some were not, their rows say why. Without AiiDA: aiida-mlfc compare.
    """
    from aiida_mlfc.cli.profile import load_or_create_profile
    from aiida_mlfc.cli.reference_compare import compare_with_potential, print_outcome

    load_or_create_profile(ctx.obj['profile'])
    node = compare_with_potential(names, **arguments)
    sys.exit(0 if print_outcome(node, arguments['as_json'], arguments['output']) else 1)


@command.command('compute')
@click.argument('structure', type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option('--code', 'code_label', default=None, help='pw.x; by default the one on the PATH of this machine.')
@click.option('--ph-code', 'ph_label', default=None, help='ph.x for --born; by default as for --code.')
@click.option(
    '--pseudos',
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help='UPF file, or folder with one for each element; again for more.',
)
@click.option('--family', default=None, help='Label of an installed family (aiida-pseudo), instead of --pseudos.')
@click.option('--protocol', default=None, help='fast, balanced (default) or stringent.')
@click.option('--insulator/--metal', default=False, help='Fixed occupations or smearing (default).')
@click.option('--born', is_flag=True, help='Born charges and dielectric tensor by ph.x; implies --insulator.')
@click.option(
    '--relax',
    type=click.Choice(['none', 'positions', 'positions_cell']),
    default='none',
    show_default=True,
    help='Relax with DFT first.',
)
@click.option('--supercell', nargs=3, type=click.IntRange(min=1), default=None, help='Repeats along the cell vectors.')
@click.option('--kpoints', nargs=3, type=click.IntRange(min=1), default=None, help='Mesh of the supercell.')
@click.option('--shifted', is_flag=True, help='Shift the k-point mesh by half a step.')
@click.option('--cutoffs', nargs=2, type=float, default=None, help='Of wave functions and density, Ry.')
@click.option('--max-residual-force', type=float, default=None, help='eV/Å; of the undisplaced cell.')
@click.option('--concurrent', type=click.IntRange(min=1), default=None, help='Jobs at once; by default one per core.')
@click.option('--options', 'options_file', type=click.File(), help='YAML with metadata.options of the jobs.')
@click.option('--json', 'as_json', is_flag=True, help='Print what came out as JSON.')
@click.pass_context
def compute(ctx: click.Context, structure: Path, **arguments: Any) -> None:
    """Compute the force constants of STRUCTURE (one crystal) with Quantum ESPRESSO.

    Run again after an interruption, it takes finished runs of pw.x from AiiDA's cache. Programs and pseudopotentials:
    apt-get install quantum-espresso quantum-espresso-data (--pseudos /usr/share/espresso/pseudo/Si.pz-vbc.UPF).
    """
    from aiida_mlfc.cli.profile import load_or_create_profile
    from aiida_mlfc.cli.reference_compute import compute_reference, summary

    load_or_create_profile(ctx.obj['profile'])
    node = compute_reference(structure, **arguments)
    found = summary(node)
    if arguments['as_json']:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    for key, value in found.items():
        click.echo(f'{key:22} {value}')
