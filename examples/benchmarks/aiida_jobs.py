"""Both screens for :mod:`aiida_screen`, run in a process whose ``AIIDA_PATH`` is a fresh folder.

    AIIDA_PATH=FOLDER python aiida_jobs.py N_CRYSTALS N_PEER

Neither side has a daemon: each work chain is run to its end here, its jobs as processes of the same machine through the
direct scheduler, polled without delay. Writes ``results.json`` and ``arrays.npz`` to ``AIIDA_PATH``.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk

#: of 54 atoms
SUPERCELL = [3, 3, 3]
POTENTIAL = 'dx-demo'
#: lattice constants near the potential's own, Å
KINDS = (('Si', 'diamond', 5.434), ('NaCl', 'rocksalt', 5.641), ('MgO', 'rocksalt', 4.218), ('ZnTe', 'zincblende', 6.1))
#: relative change of the lattice constant between two crystals of a kind
STEP = 0.002


def crystals(count: int) -> Iterator[tuple[str, Atoms]]:
    """Primitive cells of two atoms, kinds in turn, each with its own lattice constant."""
    for k in range(count):
        name, kind, constant = KINDS[k % len(KINDS)]
        yield f'{name}_{k}', bulk(name, kind, constant * (1 + STEP * (k // len(KINDS))))


def make_computer() -> None:
    """This machine, asked for its jobs as often as AiiDA can."""
    from aiida.orm import Computer, InstalledCode

    from aiida_mlfc.cli.profile import COMPUTER

    computer = Computer(
        label=COMPUTER, hostname='localhost', transport_type='core.local', scheduler_type='core.direct',
        workdir=str(Path(os.environ['AIIDA_PATH']) / 'scratch'),
    ).store()  # fmt: skip
    computer.configure(safe_interval=0)
    computer.set_minimum_job_poll_interval(0)
    computer.set_default_mpiprocs_per_machine(1)
    # the name under which aiida-pythonjob looks for a Python
    InstalledCode(label='python3', computer=computer, filepath_executable=sys.executable).store()


def ours(structures: dict) -> tuple[float, float, dict[str, np.ndarray]]:
    """``mlfc.screen``, without relaxation.

    :return: seconds of all, seconds of the force constants alone (the peer computes neither phonons nor stability),
        force constants.
    """
    from aiida.engine import run_get_node
    from aiida.orm import Dict

    from aiida_mlfc.cli.profile import load_or_create_code
    from aiida_mlfc.data.potential import PotentialData
    from aiida_mlfc.workchains.protocol import protocol_inputs
    from aiida_mlfc.workchains.restart import ForceConstantsWorkChain
    from aiida_mlfc.workchains.screen import ScreenWorkChain

    code, potential = load_or_create_code(None), PotentialData.get_or_create(POTENTIAL)
    overrides = {'force_constants': {'parameters': {'supercell_matrix': SUPERCELL}}}
    started = time.perf_counter()
    builder = ScreenWorkChain.get_builder_from_protocol(code, structures, potential, 'fast', overrides, relax=False)
    outputs, node = run_get_node(builder)
    seconds = time.perf_counter() - started
    parameters = Dict(protocol_inputs('phonon', 'fast', overrides)['force_constants']['parameters'])
    inputs = {'code': code, 'structures': structures, 'potential': potential, 'parameters': parameters}
    started = time.perf_counter()
    _, second = run_get_node(ForceConstantsWorkChain, mlfc=inputs)
    alone = time.perf_counter() - started
    for process in (node, second):
        if not process.is_finished_ok:
            raise RuntimeError(f'{process.process_label}: {process.exit_status} {process.exit_message}')
    found = outputs['output_force_constants']
    return seconds, alone, {key: found[key].get_array('force_constants') for key in structures}


def theirs(structures: dict) -> tuple[float, dict[str, np.ndarray], int]:
    """aiida-phonopy's ``PhonopyAseWorkChain``, one crystal after the other, phonopy's default displacements."""
    from aiida.engine import run_get_node
    from aiida_phonopy.workflows.ase import PhonopyAseWorkChain

    from aiida_mlfc.cli.profile import COMPUTER

    def calculator():
        from aiida_mlfc import load_potential
        from aiida_mlfc.core.potentials.relaxation.ase_calculator import PotentialCalculator

        return PotentialCalculator(load_potential('dx-demo'))

    found, n_jobs = {}, 0
    started = time.perf_counter()
    for key, structure in structures.items():
        inputs = PhonopyAseWorkChain.get_populated_builder(
            structure, calculator, {'computer': COMPUTER}, supercell_matrix=np.diag(SUPERCELL).tolist()
        )
        outputs, node = run_get_node(PhonopyAseWorkChain, **inputs)
        if not node.is_finished_ok:
            raise RuntimeError(f'PhonopyAseWorkChain: {node.exit_status} {node.exit_message}')
        phonon = outputs['phonopy_data'].get_phonopy_instance()
        phonon.produce_force_constants(calculate_full_force_constants=False)
        found[key] = np.array(phonon.force_constants)
        n_jobs += len(outputs['supercells_forces'])
    return time.perf_counter() - started, found, n_jobs


def main() -> None:
    """Both, and how far each is from the other and from our finite differences of the same step."""
    n_crystals, n_peer = map(int, sys.argv[1:])
    from aiida.orm import StructureData

    from aiida_mlfc.cli.profile import load_or_create_profile

    load_or_create_profile(None)
    make_computer()
    structures = {}
    for key, atoms in crystals(n_crystals):
        structures[key] = StructureData(ase=atoms).store()
    chosen = dict(list(structures.items())[:n_peer])
    seconds, alone, exact = ours(structures)
    peer_seconds, differences, n_jobs = theirs(chosen)
    folder = Path(os.environ['AIIDA_PATH'])
    np.savez(folder / 'arrays.npz', **{f'ours_{k}': exact[k] for k in chosen},
             **{f'theirs_{k}': differences[k] for k in chosen})  # fmt: skip
    found = {'seconds': seconds, 'alone': alone, 'peer_seconds': peer_seconds, 'n_jobs': n_jobs, 'keys': list(chosen)}
    (folder / 'results.json').write_text(json.dumps(found), encoding='utf-8')


if __name__ == '__main__':
    main()
