"""``mlfc.train``: a potential from force sets or force constants; its node links to every one of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aiida.common import CalcInfo
from aiida.common.folders import Folder
from aiida.engine import CalcJobProcessSpec
from aiida.orm import Dict
from aiida_phonopy.data import ForceConstantsData, PhonopyData

from aiida_mlfc.calculations.base import MlfcCalculation, validate_keys
from aiida_mlfc.data.force_sets import force_set_input
from aiida_mlfc.data.potential import PotentialData
from aiida_mlfc.exchange.names import TRAINED_FILES, TRAINING, TRAINING_LOG
from aiida_mlfc.exchange.training_options import START_FOLDER, train_options


def validate_force_sets(namespace: Any, port: Any) -> str | None:
    """Every set has forces, or force constants; whether they are any good is found where they are read."""
    if wrong := validate_keys(namespace, port):
        return wrong
    for key, node in namespace.items():
        try:
            force_set_input(node)
        except (ValueError, AttributeError, KeyError) as error:
            return f'{key}: {error}'
    return None


def validate_settings(node: Dict | None, port: Any) -> str | None:
    """Wrong settings are refused here and not after an hour in a queue."""
    values = node.get_dict() if node is not None else {}
    try:
        train_options(values)
    except ValueError as error:
        return str(error)
    if (name := values.get('foundation_model')) is not None:
        # The job would find one by name, and provenance would know nothing of it.
        return (
            f'foundation_model: got {name!r} among the parameters, wanted a PotentialData as the input '
            'foundation_model, beside them: PotentialData.get_or_create makes one of a name or a file'
        )
    return None


class TrainCalculation(MlfcCalculation):
    """Train on a namespace of force sets."""

    TASK = 'train'
    CRYSTALS = 'force_sets'
    NEEDS_POTENTIAL = False

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        """Force sets in, a potential out."""
        super().define(spec)
        spec.input_namespace(
            'force_sets',
            valid_type=(PhonopyData, ForceConstantsData),
            dynamic=True,
            validator=validate_force_sets,
            help='With displacements and forces; every second configuration is held back for the errors on the card. '
            'Of force constants without forces nothing can be held back: they are learned, and the card says so.',
        )
        spec.inputs['parameters'].validator = validate_settings
        spec.input(
            'foundation_model',
            valid_type=PotentialData,
            required=False,
            help='To start from, in place of random weights.',
        )
        spec.output('output_potential', valid_type=PotentialData, help='With its card.')
        spec.exit_code(
            306,
            'ERROR_TRAINING_INTERRUPTED',
            invalidates_cache=True,
            message='The job stopped at step {step}; its state is in the remote folder, parent_folder continues it.',
        )
        spec.exit_code(411, 'ERROR_NOTHING_TRAINED', message='There is no potential: {reason}')
        spec.inputs['metadata']['options']['parser_name'].default = 'mlfc.train'

    def prepare_for_submission(self, folder: Folder) -> CalcInfo:
        """The job folder, and the state of the run that is continued."""
        info = super().prepare_for_submission(folder)
        if 'parent_folder' in self.inputs:
            parent = self.inputs.parent_folder
            state = str(Path(parent.get_remote_path()) / TRAINING)
            info.remote_copy_list = [(parent.computer.uuid, state, TRAINING)]
        if 'foundation_model' in self.inputs:
            start = self.inputs.foundation_model
            info.local_copy_list = [*(info.local_copy_list or []), (start.uuid, start.filename, self._start_file())]
        made = TRAINED_FILES[self._architecture()]
        info.retrieve_list = [*info.retrieve_list, made, (f'{TRAINING}/{TRAINING_LOG}', '.', 1)]
        return info

    def job_options(self) -> dict[str, Any]:
        """Those of the input, and the potential to start from as a file."""
        found = super().job_options()
        return {**found, 'foundation_model': self._start_file()} if 'foundation_model' in self.inputs else found

    def _architecture(self) -> str:
        return self.inputs.foundation_model.architecture if 'foundation_model' in self.inputs else 'dx'

    def _start_file(self) -> str:
        return f'{START_FOLDER}/{self.inputs.foundation_model.filename}'

    def crystal_input(self, key: str) -> dict[str, Any]:
        """Supercell, displacements and forces or force constants, and where they come from."""
        return force_set_input(self.inputs.force_sets[key])
