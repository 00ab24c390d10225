"""What ``aiida-mlfc reference compute`` does: codes and pseudopotentials, the work chain, the result kept."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import click
import numpy as np

from aiida_mlfc.cli.profile import load_or_create_code
from aiida_mlfc.cli.screen import _options as job_options
from aiida_mlfc.core.structures.reading import Crystal, read_crystals
from aiida_mlfc.data.crystals import structure_nodes
from aiida_mlfc.data.references import KEY_REFERENCE, add_to_group

#: one core a process; OpenMPI refuses root, as which containers run, unless told otherwise
PREPEND = 'export OMP_NUM_THREADS=1 OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1'


def load_or_create_espresso(label: str | None, program: str) -> Any:
    """The code of a Quantum ESPRESSO program: the user's, or the one on the PATH of this machine.

    :param label: of an existing code; None for ``pw@localhost``, made if it is not there.
    :param program: ``pw`` or ``ph``.
    :raises click.ClickException: if there is none.
    """
    from aiida.common.exceptions import NotExistent
    from aiida.orm import InstalledCode, load_code

    plugin = f'quantumespresso.{program}'
    try:
        code = load_code(label or f'{program}@localhost')
    except NotExistent as error:
        if label is not None:
            raise click.BadParameter(f'{error}; `verdi code list` shows what there is', param_hint='--code') from error
    else:
        if code.default_calc_job_plugin != plugin:
            raise click.ClickException(f'{code.full_label} is a code for {code.default_calc_job_plugin}, not {plugin}')
        return code
    path = shutil.which(f'{program}.x')
    if path is None:
        raise click.ClickException(
            f'{program}.x is not on the PATH: apt-get install quantum-espresso, or name a code with --code'
        )
    return InstalledCode(
        label=program,
        computer=load_or_create_code(None).computer,
        filepath_executable=path,
        default_calc_job_plugin=plugin,
        prepend_text=PREPEND,
        use_double_quotes=False,
    ).store()


def _crystal(path: Path) -> Crystal:
    """The one crystal of a file.

    :raises click.BadParameter: if it is broken or there are several.
    """
    crystals = list(read_crystals([path]))
    if len(crystals) != 1:
        raise click.BadParameter(f'{path} holds {len(crystals)} crystals, wanted one', param_hint='STRUCTURE')
    if crystals[0].atoms is None:
        raise click.BadParameter(f'{path}: {crystals[0].error}', param_hint='STRUCTURE')
    return crystals[0]


def _family(crystal: Crystal, arguments: dict[str, Any]) -> tuple[str, dict[str, float]]:
    """Label of the pseudopotential family, and the cutoffs that are to be used with it.

    :return: the cutoffs are empty if the family recommends its own.
    """
    from aiida_mlfc.data.pseudo_families import family_of_files, stated_cutoffs, upf_files

    cutoffs = arguments['cutoffs']
    if (arguments['family'] is None) == (not arguments['pseudos']):
        raise click.UsageError('pseudopotentials: give either --pseudos PATH or --family LABEL')
    if arguments['family'] is not None:
        label = arguments['family']
    else:
        files = upf_files(arguments['pseudos'], list(dict.fromkeys(crystal.atoms.get_chemical_symbols())))
        label = family_of_files(files)
        cutoffs = cutoffs or stated_cutoffs(files)
        if cutoffs is None:
            raise click.UsageError(
                f'{", ".join(path.name for path in files.values())} state no cutoffs: give --cutoffs WFC RHO (Ry)'
            )
    return label, {'cutoff_wfc': cutoffs[0], 'cutoff_rho': cutoffs[1]} if cutoffs else {}


def compute_reference(path: Path, **arguments: Any) -> Any:
    """Run ``mlfc.dft_reference`` in this process.

    :param arguments: of the command.
    :return: node of the work chain, finished.
    :raises click.ClickException: if inputs contradict each other, or the computation failed.
    """
    from aiida.engine import run_get_node
    from aiida.manage.caching import enable_caching

    from aiida_mlfc.workchains.dft_reference import DftReferenceWorkChain

    crystal = _crystal(path)
    insulator = arguments['insulator'] or arguments['born']
    try:
        label, overrides = _family(crystal, arguments)
        overrides |= {
            key: value
            for key, value in {
                'supercell_matrix': arguments['supercell'] and list(arguments['supercell']),
                'kpoints_mesh': arguments['kpoints'] and list(arguments['kpoints']),
                'kpoints_offset': [0.5, 0.5, 0.5] if arguments['shifted'] else None,
                'max_residual_force': arguments['max_residual_force'],
            }.items()
            if value is not None
        }
        structure = next(iter(structure_nodes([(crystal.name, crystal.atoms, str(path.resolve()))]).values()))
        builder = DftReferenceWorkChain.get_builder_from_protocol(
            load_or_create_espresso(arguments['code_label'], 'pw'),
            structure,
            pseudo_family=label,
            protocol=arguments['protocol'],
            overrides=overrides,
            options=job_options(arguments['options_file']),
            electronic_type='insulator' if insulator else 'metal',
            relax_type=arguments['relax'],
            ph_code=load_or_create_espresso(arguments['ph_label'], 'ph') if arguments['born'] else None,
        )
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    builder.max_concurrent = arguments['concurrent'] or len(os.sched_getaffinity(0))
    builder.metadata.label = crystal.name
    n_atoms = len(crystal.atoms) * round(abs(np.linalg.det(builder.supercell_matrix.get_list())))
    click.echo(f'{crystal.name}: cells of {n_atoms} atoms', err=True)
    # What an interrupted run finished is not computed again.
    with enable_caching(identifier='aiida.calculations:quantumespresso.*'):
        outputs, node = run_get_node(builder)
    if not node.is_finished_ok:
        reason = node.exit_message or node.exception or node.process_state.value
        raise click.ClickException(f'{node.process_label}<{node.pk}>: {reason}')
    force_constants = outputs['force_constants']
    force_constants.label = crystal.name
    add_to_group([force_constants])
    return node


def summary(node: Any) -> dict[str, Any]:
    """What came out, for people and scripts.

    :param node: of a finished ``mlfc.dft_reference``.
    """
    force_constants = node.outputs.force_constants
    known = force_constants.base.attributes.get(KEY_REFERENCE)
    quality = force_constants.base.attributes.get('quality')
    gamma = force_constants.get_phonopy_instance().run_qpoints([[0, 0, 0]]).frequencies[0]
    return {
        'uuid': force_constants.uuid,
        'work_chain': node.uuid,
        **{key: known[key] for key in ('code', 'functional', 'pseudos', 'cutoffs', 'kpoints', 'occupations')},
        'n_supercell_atoms': len(node.outputs.supercells_forces.forces_0.get_array('forces')),
        'n_displacements': quality['n_directions'],
        'max_residual_force': quality['max_residual_force'],
        'acoustic_sum_residual': quality['acoustic_sum_residual'],
        'permutation_asymmetry': quality['permutation_asymmetry'],
        'nac': 'born_charges' in force_constants.get_arraynames(),
        'gamma_frequencies': [round(float(value), 4) for value in gamma],
        'seconds': quality['seconds'],
    }
