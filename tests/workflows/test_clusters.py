"""The cluster recipes are read by verdi as they are, and their options are options of our jobs."""

from pathlib import Path

import pytest
import yaml
from aiida.orm import load_code, load_computer
from click.testing import CliRunner

from aiida_mlfc.workchains.phonon import PhononWorkChain

RECIPES = Path(__file__).parents[2] / 'workflows' / 'clusters'


def verdi(*arguments: str) -> None:
    from aiida.cmdline.commands.cmd_verdi import verdi as command

    done = CliRunner().invoke(command, [str(argument) for argument in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize('name', ['localhost', 'slurm'])
def test_computer_and_code(aiida_profile_clean, name):
    verdi('computer', 'setup', '-n', '--config', RECIPES / f'{name}.computer.yaml')
    recipe = yaml.safe_load((RECIPES / f'{name}.computer.yaml').read_text())
    computer = load_computer(recipe['label'])
    assert (computer.transport_type, computer.scheduler_type) == (recipe['transport'], recipe['scheduler'])
    transport = ['--safe-interval', '0'] if name == 'localhost' else ['--host', 'mycluster', '--safe-interval', '5']
    verdi('computer', 'configure', recipe['transport'], '-n', *transport, recipe['label'])
    assert computer.is_configured
    # the file system of a cluster is not there to be looked at
    verdi('code', 'create', 'core.code.installed', '-n', '--config', RECIPES / f'{name}.code.yaml')
    assert load_code(f'mlfc-run@{recipe["label"]}').default_calc_job_plugin == 'mlfc.force_constants'


@pytest.mark.parametrize('name', ['slurm-cpu', 'slurm-gpu'])
def test_options(mlfc_code, potential_node, make_structure, silicon, name):
    options = yaml.safe_load((RECIPES / f'{name}.options.yaml').read_text())
    builder = PhononWorkChain.get_builder_from_protocol(
        mlfc_code, make_structure(silicon), potential_node, options=options
    )
    assert builder.force_constants.mlfc.metadata.options['queue_name'] == options['queue_name']
