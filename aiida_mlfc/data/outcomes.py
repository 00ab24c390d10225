"""What became of each crystal of a screen, read back from provenance: rows, phonons, and the way back."""

from __future__ import annotations

from typing import Any

from aiida.common.links import LinkType
from aiida.orm import ArrayData, CalcJobNode, ProcessNode, StructureData, WorkChainNode

from aiida_mlfc.core.force_constants.record import Quality
from aiida_mlfc.core.phonons.record import Phonons
from aiida_mlfc.core.structures.formula import reduced_formula
from aiida_mlfc.core.structures.symmetry import spacegroup
from aiida_mlfc.data.crystals import EXTRA_SOURCE
from aiida_mlfc.data.force_constants import KEY_QUALITY
from aiida_mlfc.data.phonons import BANDS, OUTPUTS, phonon_record
from aiida_mlfc.data.potential import PotentialData
from aiida_mlfc.data.potential_card import card_warnings
from aiida_mlfc.reports.rows import Row, failed_row, finished_row

FORCE_CONSTANTS = 'output_force_constants'
#: tolerance at which the space group of an input structure is quoted, Å
SYMPREC = 1e-4


class ScreenOutcome:
    """A terminated or running screen (or single phonon work chain), looked at once.

    :param process: node of ``mlfc.screen`` or ``mlfc.phonon``.
    """

    def __init__(self, process: WorkChainNode) -> None:
        self.process = process
        self.potential: PotentialData = process.inputs.potential
        self.structures: dict[str, StructureData] = dict(process.inputs.structures)
        self.nac_params: dict[str, ArrayData] = (
            dict(process.inputs.nac_params) if 'nac_params' in process.inputs else {}
        )
        self.jobs = [node for node in process.called_descendants if isinstance(node, CalcJobNode)]
        self._parameters: dict[str, list[dict[str, Any]]] = {}
        for job in sorted(self.jobs, key=lambda node: node.pk):
            if 'output_parameters' in job.outputs:
                for key, row in job.outputs.output_parameters.get_dict().items():
                    self._parameters.setdefault(key, []).append(row)
        self._nodes: dict[str, dict[str, Any]] = {}
        for name in (FORCE_CONSTANTS, *OUTPUTS):
            links = process.base.links.get_outgoing(link_type=LinkType.RETURN, link_label_filter=f'{name}\\_\\_%').all()
            for link in links:
                self._nodes.setdefault(link.link_label.removeprefix(f'{name}__'), {})[name] = link.node

    def is_done(self, key: str) -> bool:
        """Whether the crystal has phonons or a stated error of its own."""
        return BANDS in self._nodes.get(key, {}) or self._own_error(key) is not None

    def _own_error(self, key: str) -> str | None:
        failed = [row for row in self._parameters.get(key, []) if row['status'] == 'failed']
        return str(failed[-1]['error']['message']) if failed else None

    def phonons(self, key: str) -> Phonons:
        """The record of a crystal that has one.

        :raises KeyError: if it has none.
        """
        return phonon_record(self._nodes[key])

    def row(self, key: str, name: str | None = None) -> Row:
        """The row of one crystal.

        :param name: what to call it, by default the label of its structure.
        """
        structure = self.structures[key]
        name = name or structure.label
        atoms = structure.get_ase()
        known = {
            'formula': reduced_formula(atoms),
            'n_atoms': len(atoms),
            'spacegroup': spacegroup(atoms, SYMPREC),
            'potential': self.potential.name,
            'potential_sha256': self.potential.sha256,
            'structure_uuid': structure.uuid,
        }
        nodes = self._nodes.get(key, {})
        if BANDS not in nodes:
            return failed_row(name, self._own_error(key) or self._why_nothing(), **known)
        force_constants = nodes[FORCE_CONSTANTS]
        row = finished_row(
            name,
            phonon_record(nodes),
            Quality(**force_constants.base.attributes.get(KEY_QUALITY)),
            supercell_matrix=[[round(x) for x in line] for line in force_constants.supercell_matrix],
            seconds=sum(step['seconds'] for step in self._parameters.get(key, [])),
            force_constants_uuid=force_constants.uuid,
            **known,
        )
        row['warnings'] = [
            *row['warnings'],
            *relaxation_warnings(self._parameters.get(key, [])),
            *card_warnings(self.potential.card, known['formula'], known['spacegroup']),
        ]
        return row

    def _why_nothing(self) -> str:
        """For a crystal that no job reported on: what ended the process."""
        for node in [*reversed(self.jobs), self.process]:
            if node.is_failed and node.exit_message:
                return f'{node.process_label}<{node.pk}>: {node.exit_message}'
            if node.is_excepted:
                return f'{node.process_label}<{node.pk}> excepted: {node.exception}'
            if node.is_killed:
                return f'{node.process_label}<{node.pk}> was killed'
        state = self.process.process_state.value if self.process.process_state else 'unknown'
        return f'no result yet: {self.process.process_label}<{self.process.pk}> is {state}'

    def provenance(self, key: str) -> dict[str, str]:
        """The way back from the numbers of one crystal, as text."""
        structure = self.structures[key]
        way = {
            'structure': f'StructureData {structure.uuid}',
            'read from': str(structure.base.extras.get(EXTRA_SOURCE, 'not recorded')),
            'potential': f'{self.potential.name}, PotentialData {self.potential.uuid}, sha256 {self.potential.sha256}',
        }
        nodes = self._nodes.get(key, {})
        for name, label in ((FORCE_CONSTANTS, 'force constants'), (BANDS, 'phonon bands')):
            if name in nodes:
                node = nodes[name]
                way[label] = f'{type(node).__name__} {node.uuid}, made by {_creator(node)}'
        way['work chain'] = f'{self.process.process_label} {self.process.uuid}'
        return way


def relaxation_warnings(steps: list[dict[str, Any]]) -> list[str]:
    """What a relaxation had to say, from the results of all tasks of one crystal."""
    return [f'relaxed by BFGS; Newton gave up: {step["fallback"]}' for step in steps if step.get('fallback')]


def _creator(node: Any) -> str:
    creator: ProcessNode | None = node.creator
    return f'{creator.process_label}<{creator.pk}>' if creator is not None else 'nobody'
