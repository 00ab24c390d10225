"""The cluster recipes are read by verdi as they are, and their options are options of our jobs."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from aiida.orm import load_code, load_computer
from click.testing import CliRunner

from aiida_mlfc.workchains.phonon import PhononWorkChain

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / 'workflows' / 'clusters'
#: what only the AiiDA side, the command line and the pages need
NOT_ON_NODES = {'aiida-core', 'aiida-phonopy', 'click', 'plotly'}


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


def test_containerised_code(aiida_profile_clean):
    verdi('computer', 'setup', '-n', '--config', RECIPES / 'slurm.computer.yaml')
    verdi('code', 'create', 'core.code.containerized', '-n', '--config', RECIPES / 'container.code.yaml')
    code = load_code('mlfc-run-container@mycluster')
    line = ' '.join(code.get_prepend_cmdline_params())
    assert line.startswith('apptainer exec')
    assert line.endswith('/home/me/mlfc-run.sif')


def test_requirements_of_a_node_are_those_of_the_package():
    """No AiiDA there; everything else as in setup.json, with the same bounds."""
    wanted = json.loads((ROOT / 'setup.json').read_text())['install_requires']
    wanted = [line for line in wanted if re.match(r'[\w-]+', line)[0] not in NOT_ON_NODES]
    lines = (RECIPES / 'requirements-node.txt').read_text().splitlines()
    assert [line for line in lines if not line.startswith('#')] == wanted
    containers = [(RECIPES / name).read_text() for name in ('Dockerfile', 'mlfc-run.def')]
    assert all('requirements-node.txt' in text and 'pip install --no-deps .' in text for text in containers)


def test_a_job_runs_where_nothing_else_is_installed(tmp_path, make_job, silicon):
    folder = make_job(tmp_path, {'Si': silicon})
    blocked = sorted({name.replace('-', '_') for name in NOT_ON_NODES} - {'aiida_core'} | {'aiida', 'plumpy', 'kiwipy'})
    code = f"""
import sys
class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in {blocked!r}:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, NotInstalled())
from aiida_mlfc.runner.run import main
main([{str(folder)!r}])
"""
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize('name', ['slurm-cpu', 'slurm-gpu', 'slurm-cpu-node', 'slurm-gpu-node'])
def test_options(mlfc_code, potential_node, make_structure, silicon, name):
    options = yaml.safe_load((RECIPES / f'{name}.options.yaml').read_text())
    builder = PhononWorkChain.get_builder_from_protocol(
        mlfc_code, make_structure(silicon), potential_node, options=options
    )
    inputs = builder.steps.mlfc
    assert inputs.metadata.options['queue_name'] == options['queue_name']
    assert inputs.get('workers') == options.get('workers')
