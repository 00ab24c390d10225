"""Inputs of ``mlfc.follow`` from the protocol of ``mlfc.phonon``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiida.engine import ProcessBuilder
from aiida.orm import Dict, List, load_code

from aiida_mlfc.core.phonons.following.tree import Budget
from aiida_mlfc.workchains.job_options import set_job_options
from aiida_mlfc.workchains.phonon import STEPS, fill_steps
from aiida_mlfc.workchains.protocol import merged, protocol_inputs
from aiida_mlfc.workchains.restart import NAMESPACE

#: where a crystal that is stable so far is looked at once more
CONFIRM_MESH = (4, 4, 4)


def fill_follow_builder(
    builder: ProcessBuilder,
    code: Any,
    protocol: str | None = None,
    overrides: dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
    budget: dict[str, int] | None = None,
    displace: dict[str, Any] | None = None,
    confirm_mesh: Sequence[int] = CONFIRM_MESH,
    phonons: bool = True,
) -> None:
    """Set codes and parameters of the steps; cells are relaxed unless overridden.

    :param code: the ``mlfc-run`` code, a node or its label.
    :param protocol: of ``mlfc.phonon``.
    :param overrides: of ``mlfc.phonon``: ``relax``, ``force_constants``, ``phonons``.
    :param options: ``metadata.options`` of the jobs, and ``workers``: processes in a job, a number or ``auto``.
    :param budget: fields of :class:`Budget` that differ from their defaults.
    :param displace: options of ``task: displace`` that differ.
    :param confirm_mesh: denser mesh for a last look; empty for none.
    :param phonons: bands, density of states and thermal properties of the stable crystals.
    """
    cells_too = {'relax': {'parameters': {'relax_cell': True}}}
    inputs = protocol_inputs('phonon', protocol, merged(cells_too, overrides or {}))
    limits = Budget(**(budget or {}))
    builder.budget = Dict({'generations': limits.generations, 'children': limits.children, 'atoms': limits.atoms})
    inputs['displace'] = {'parameters': {'max_atoms': limits.atoms, **(displace or {})}}
    steps = [('relax', builder.relax), ('displace', builder.displace)]
    if confirm_mesh:
        builder.confirm_mesh = List(list(confirm_mesh))
    code = load_code(code) if isinstance(code, str) else code
    if phonons:
        fill_steps(builder.phonon[STEPS][NAMESPACE], code, inputs, options, relax=False)
    else:
        builder.pop('phonon')
    for name, step in steps:
        step[NAMESPACE].code = code
        step[NAMESPACE].parameters = Dict(inputs[name]['parameters'])
    set_job_options([step[NAMESPACE] for _, step in steps], options)
