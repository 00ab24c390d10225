"""Folders that ``mlfc-run`` really left, and how AiiDA parses them."""

import shutil

import pytest
from aiida.common.links import LinkType
from aiida.orm import CalcJobNode, FolderData
from aiida.plugins import CalculationFactory, ParserFactory
from aiida.plugins.entry_point import format_entry_point_string

GOOD_STDERR = 'mlfc-run: force_constants, 2 structures, 0 done already\n[1/2] Si ok 0.1 s, 0 s to go\n'


@pytest.fixture
def folder(tmp_path, real_results):
    """A copy of the real output of a task, to be damaged."""

    def _copy(task='force_constants'):
        shutil.copytree(real_results[task], tmp_path / 'job')
        (tmp_path / 'job' / 'mlfc-run.err').write_text(GOOD_STDERR)
        return tmp_path / 'job'

    return _copy


@pytest.fixture
def parse(make_structure, silicon, rocksalt, potential_node, aiida_localhost):
    """Parse a job folder as AiiDA does after retrieving it; outputs and exit code."""

    def _parse(folder, task='force_constants'):
        node = CalcJobNode(
            computer=aiida_localhost, process_type=format_entry_point_string('aiida.calculations', f'mlfc.{task}')
        )
        inputs = {
            'structures__Si': make_structure(silicon, 'Si'),
            'structures__NaCl': make_structure(rocksalt, 'NaCl'),
            'potential': potential_node,
        }
        for label, value in inputs.items():
            node.base.links.add_incoming(value, LinkType.INPUT_CALC, label)
        node.set_option('scheduler_stderr', '_scheduler-stderr.txt')
        node.store()
        retrieved = FolderData()
        for name in ('results.json', 'mlfc-run.err', '_scheduler-stderr.txt'):
            if (folder / name).exists():
                retrieved.base.repository.put_object_from_file(folder / name, name)
        retrieved.base.links.add_incoming(node, LinkType.CREATE, 'retrieved')
        retrieved.store()
        outputs, process = ParserFactory(f'mlfc.{task}').parse_from_node(
            node, store_provenance=False, retrieved_temporary_folder=str(folder)
        )
        return outputs, process

    return _parse


def code(name, task='force_constants'):
    return CalculationFactory(f'mlfc.{task}').spec().exit_codes[name].status
