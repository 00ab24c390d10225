"""Inputs of ``mlfc.dft_reference`` from a protocol: supercell, k-points, cutoffs, smearing, thresholds."""

from __future__ import annotations

from typing import Any

import numpy as np
from aiida.engine import ProcessBuilder
from aiida.orm import Dict, Float, Int, KpointsData, List, StructureData, load_code

from aiida_mlfc.core.structures.supercells import supercell_for_length
from aiida_mlfc.data.references import common_functional
from aiida_mlfc.workchains.dft_reference_base import primitive_matrix_of
from aiida_mlfc.workchains.protocol import merged, protocol_inputs

#: one process, without mpirun: for displaced cells of this size more ranks lose more than they win
DEFAULT_OPTIONS = {
    'resources': {'num_machines': 1, 'num_mpiprocs_per_machine': 1},
    'max_wallclock_seconds': 3600 * 12,
    'withmpi': False,
}
RELAX_TYPES = ('none', 'positions', 'positions_cell')
#: overrides that are no part of the protocol
EXTRA_OVERRIDES = ('supercell_matrix', 'kpoints_mesh', 'cutoff_wfc', 'cutoff_rho')


def fill_reference_builder(
    builder: ProcessBuilder,
    code: Any,
    structure: StructureData,
    pseudo_family: str,
    protocol: str | None = None,
    overrides: dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
    electronic_type: str = 'metal',
    relax_type: str = 'none',
    ph_code: Any = None,
    **keywords: Any,
) -> None:
    """Set every input.

    :param code: of ``quantumespresso.pw``, a node or its label.
    :param pseudo_family: label of an installed family (aiida-pseudo).
    :param protocol: ``fast``, ``balanced`` (default) or ``stringent``.
    :param overrides: laid over the protocol; also ``supercell_matrix``, ``kpoints_mesh`` (of the supercell) and
        ``cutoff_wfc``, ``cutoff_rho`` (Ry).
    :param options: ``metadata.options`` of all jobs.
    :param electronic_type: ``metal`` (smearing) or ``insulator`` (fixed occupations).
    :param relax_type: ``none``, ``positions`` or ``positions_cell``.
    :param ph_code: of ``quantumespresso.ph``; with it Born charges and the dielectric tensor are computed.
    :param keywords: ``spin_type``, ``initial_magnetic_moments`` as aiida-quantumespresso takes them.
    :raises ValueError: for settings that contradict each other or that the protocol does not know.
    """
    from aiida_quantumespresso.common.types import ElectronicType, RelaxType
    from aiida_quantumespresso.workflows.ph.base import PhBaseWorkChain
    from aiida_quantumespresso.workflows.pw.base import PwBaseWorkChain
    from aiida_quantumespresso.workflows.pw.relax import PwRelaxWorkChain

    overrides = dict(overrides or {})
    extra = {key: overrides.pop(key) for key in EXTRA_OVERRIDES if key in overrides}
    inputs = protocol_inputs('dft_reference', protocol, overrides)
    electrons = ElectronicType(electronic_type)
    if relax_type not in RELAX_TYPES:
        raise ValueError(f'relax_type: got {relax_type!r}, wanted one of {", ".join(RELAX_TYPES)}')
    if ph_code is not None and electrons is not ElectronicType.INSULATOR:
        raise ValueError("Born charges: got electronic_type 'metal', wanted 'insulator'; a metal screens every field")
    code = load_code(code) if isinstance(code, str) else code
    options = merged(DEFAULT_OPTIONS, options or {})
    atoms = structure.get_ase()
    supercell = np.asarray(extra.get('supercell_matrix', supercell_for_length(atoms, inputs['supercell_length'])))
    supercell = np.diag(supercell) if supercell.shape == (3,) else supercell
    n_super = round(len(atoms) * abs(np.linalg.det(supercell)))
    distance = inputs['kpoints_distance'][electrons.value]

    def overrides_for(base: dict[str, Any], n_atoms: int) -> dict[str, Any]:
        parameters: dict[str, Any] = {'ELECTRONS': {'conv_thr': n_atoms * inputs['conv_thr_per_atom']}}
        if {'cutoff_wfc', 'cutoff_rho'} <= set(extra):
            parameters['SYSTEM'] = {'ecutwfc': extra['cutoff_wfc'], 'ecutrho': extra['cutoff_rho']}
        if electrons is ElectronicType.INSULATOR:
            base = merged(base, {})
            base['pw']['parameters']['SYSTEM'] = {}
        return merged({'pseudo_family': pseudo_family, 'pw': {'parameters': parameters}}, base)

    common = {'electronic_type': electrons, 'options': options, **keywords}
    scf = PwBaseWorkChain.get_builder_from_protocol(
        code, structure, overrides=overrides_for(inputs['scf'], n_super), **common
    )
    # Said now, not after hours of pw.x.
    common_functional(scf.pw.pseudos)
    _take(builder.scf, scf, drop=('kpoints', 'kpoints_distance', 'clean_workdir'), drop_inner=('structure',))
    builder.structure = structure
    builder.supercell_matrix = List(supercell.astype(int).tolist())
    builder.primitive_matrix = List(primitive_matrix_of(structure, inputs['symprec']))
    builder.symmetry_tolerance = Float(inputs['symprec'])
    builder.displacement_generator = Dict({'distance': float(inputs['distance'])})
    builder.max_residual_force = Float(inputs['max_residual_force'])
    builder.kpoints_distance = Float(distance)
    builder.kpoints_offset = List(inputs['kpoints_offset'])
    if 'kpoints_mesh' in extra:
        builder.kpoints = KpointsData()
        builder.kpoints.set_kpoints_mesh(extra['kpoints_mesh'], offset=inputs['kpoints_offset'])
    if relax_type == 'none':
        builder.pop('relax')
    else:
        relax = PwRelaxWorkChain.get_builder_from_protocol(
            code,
            structure,
            overrides={
                'base_relax': {
                    'kpoints_distance': distance,
                    **overrides_for(inputs['relax']['base_relax'], len(atoms)),
                },
                'base_init_relax': {'pseudo_family': pseudo_family, **_cutoffs(extra)},
            },
            relax_type=RelaxType(relax_type),
            **common,
        )
        builder.relax.base_relax = relax.base_relax
        builder.relax.max_meta_convergence_iterations = Int(inputs['relax']['max_meta_convergence_iterations'])
        builder.relax.meta_convergence = relax.meta_convergence
    if ph_code is None:
        builder.pop('ph')
    else:
        ph_code = load_code(ph_code) if isinstance(ph_code, str) else ph_code
        ph = PhBaseWorkChain.get_builder_from_protocol(
            ph_code, overrides=inputs['ph'], electronic_type=electrons, options=options
        )
        _take(builder.ph, ph, drop=('qpoints_distance', 'qpoints_force_parity', 'clean_workdir'), drop_inner=())


def _cutoffs(extra: dict[str, Any]) -> dict[str, Any]:
    """Cutoffs as aiida-quantumespresso takes them."""
    if not {'cutoff_wfc', 'cutoff_rho'} <= set(extra):
        return {}
    return {'pw': {'parameters': {'SYSTEM': {'ecutwfc': extra['cutoff_wfc'], 'ecutrho': extra['cutoff_rho']}}}}


def _take(target: Any, source: Any, drop: tuple[str, ...], drop_inner: tuple[str, ...]) -> None:
    """Copy the inputs of another builder into a namespace, without the ports that the namespace does not have."""
    for key, value in source._inputs(prune=True).items():
        if key in drop:
            continue
        if isinstance(value, dict) and key in ('pw', 'ph'):
            value = {name: inner for name, inner in value.items() if name not in drop_inner}
        setattr(target, key, value)
