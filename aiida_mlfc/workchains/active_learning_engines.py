"""Force engines of ``mlfc.active_learning``: one set of inputs for all crystals, and what is set for each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from aiida.common import AttributeDict
from aiida.engine import ProcessBuilder
from aiida.orm import Dict, List, StructureData
from aiida.plugins import WorkflowFactory

from aiida_mlfc.core.structures.supercells import supercell_for_length
from aiida_mlfc.workchains.ase_reference import AseReferenceWorkChain
from aiida_mlfc.workchains.dft_reference_base import primitive_matrix_of
from aiida_mlfc.workchains.protocol import protocol_inputs

#: namespaces of force engines, by entry point; the one that is filled in is used
ENGINES = {'ase_reference': 'mlfc.ase_reference', 'dft_reference': 'mlfc.dft_reference'}
#: set for each crystal
OF_CRYSTAL = ('structure', 'supercell_matrix', 'primitive_matrix')
#: Å; of the cell that stands for all crystals while a builder is filled, wide enough for one atom of each kind
_STAND_IN = 50.0


def expose_engines(spec: Any) -> None:
    """A namespace for each engine that is installed."""
    spec.expose_inputs(
        AseReferenceWorkChain,
        namespace='ase_reference',
        exclude=OF_CRYSTAL,
        namespace_options={'required': False, 'populate_defaults': False, 'help': 'Any ASE calculator.'},
    )
    try:
        engine = WorkflowFactory(ENGINES['dft_reference'])
    except Exception:  # noqa: BLE001 (aiida-quantumespresso is an extra)
        return
    spec.expose_inputs(
        engine,
        namespace='dft_reference',
        exclude=OF_CRYSTAL,
        namespace_options={'required': False, 'populate_defaults': False, 'help': 'Quantum ESPRESSO.'},
    )


def inputs_of_crystal(inputs: AttributeDict, structure: StructureData, name: str, length: float) -> AttributeDict:
    """Inputs of an engine for one crystal.

    :param inputs: common to all crystals, changed in place.
    :param name: under which the force set is known, unless the structure has a label.
    :param length: of the supercell, Å.
    """
    matrix = supercell_for_length(structure.get_ase(), length)
    inputs.structure = structure
    inputs.supercell_matrix = List(np.asarray(matrix).tolist())
    inputs.primitive_matrix = List(primitive_matrix_of(structure, inputs.symmetry_tolerance.value))
    inputs.information = Dict({'name': structure.label or name, **inputs.information.get_dict()})
    # pw.x takes pseudopotentials of the kinds that are there, and no others.
    kinds = structure.get_kind_names()
    for path in (('scf', 'pw'), ('relax', 'base_relax', 'pw')):
        found: Any = inputs
        for step in path:
            found = found.get(step, {})
        if 'pseudos' in found:
            found.pseudos = {kind: found.pseudos[kind] for kind in kinds if kind in found.pseudos}
    return inputs


def fill_dft_reference(
    builder: ProcessBuilder,
    code: Any,
    pseudo_family: str,
    elements: Iterable[str] = (),
    protocol: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    **keywords: Any,
) -> None:
    """Set ``dft_reference`` for all crystals of a builder, whose ``structures`` and ``supercell_length`` are there.

    Convergence thresholds of energies grow with the number of atoms; here all have that of the smallest cell.

    :param builder: of ``mlfc.active_learning``.
    :param code: of ``quantumespresso.pw``.
    :param elements: symbols that substitution may bring in.
    :param protocol: ``fast``, ``balanced`` (default) or ``stringent``, of ``mlfc.dft_reference``.
    :param overrides: laid over it; a ``kpoints_mesh`` would be that of every supercell.
    :param keywords: ``electronic_type``, ``relax_type``, ``options``, ``ph_code`` and others, as
        :func:`~.dft_reference_builder.fill_reference_builder` takes them.
    """
    overrides = dict(overrides or {})
    if 'supercell_matrix' in overrides:
        raise ValueError('supercell_matrix: it follows for each crystal from supercell_length; leave it out')
    structures = [node for _, node in sorted(builder.structures.items())]
    stand_in = _stand_in(structures, elements)
    n_kinds, length = len(stand_in.kinds), builder.supercell_length.value
    n_atoms = min(len(node.sites) for node in structures)
    n_super = min(
        len(node.sites) * round(np.linalg.det(supercell_for_length(node.get_ase(), length))) for node in structures
    )
    known = {key: value for key, value in overrides.items() if key == 'conv_thr_per_atom'}
    thr = float(protocol_inputs('dft_reference', protocol, known)['conv_thr_per_atom'])
    made = WorkflowFactory(ENGINES['dft_reference']).get_builder_from_protocol(
        code,
        stand_in,
        pseudo_family=pseudo_family,
        protocol=protocol,
        overrides={
            **overrides,
            # so that what the builder multiplies them by gives the atoms of the smallest cells
            'conv_thr_per_atom': thr * n_atoms / n_kinds,
            'supercell_matrix': [max(1, n_super // n_atoms), 1, 1],
        },
        **keywords,
    )
    common = made._inputs(prune=True)
    builder.dft_reference = {key: value for key, value in common.items() if key not in (*OF_CRYSTAL, 'metadata')}


def _stand_in(structures: Iterable[StructureData], elements: Iterable[str]) -> StructureData:
    """One atom of each kind that any of the crystals has: pseudopotentials and cutoffs follow from the kinds."""
    kinds = {kind.name: kind for node in structures for kind in node.kinds}
    result = StructureData(cell=(np.eye(3) * _STAND_IN).tolist())
    for kind in kinds.values():
        result.append_kind(kind)
    for place, name in enumerate(kinds):
        result.append_site(_site(name, place / len(kinds)))
    for place, symbol in enumerate(sorted(set(elements) - set(kinds))):
        result.append_atom(symbols=symbol, position=(0.0, _STAND_IN / 2, place))
    return result


def _site(kind: str, place: float) -> Any:
    from aiida.orm.nodes.data.structure import Site

    return Site(kind_name=kind, position=(_STAND_IN * place, 0.0, 0.0))
