"""Help is instant: nothing heavy is imported to print it."""

import json
import subprocess
import sys

import pytest

COMMANDS = [
    [],
    ['screen'],
    ['report'],
    ['query'],
    ['query', 'unstable'],
    ['query', 'made-with'],
    ['query', 'failed'],
    ['query', 'where-from'],
    ['potential'],
    ['potential', 'list'],
    ['potential', 'show'],
    ['potential', 'import'],
]
SCRIPT = """
import json, sys
from aiida_mlfc.cli.root import cmd_root
try:
    cmd_root([*{arguments}, '--help'], prog_name='aiida-mlfc')
except SystemExit as end:
    print(json.dumps([end.code, sorted(m for m in sys.modules if '.' not in m)]))
"""


@pytest.mark.parametrize('arguments', COMMANDS, ids=' '.join)
def test_help_imports_nothing_heavy(arguments):
    done = subprocess.run(
        [sys.executable, '-c', SCRIPT.format(arguments=arguments)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    *text, last = done.stdout.splitlines()
    status, modules = json.loads(last)
    assert status == 0
    assert text[0].startswith(' '.join(['Usage: aiida-mlfc', *arguments]))
    heavy = {'aiida', 'torch', 'numpy', 'ase', 'phonopy', 'plotly', 'rich', 'sqlalchemy', 'yaml', 'h5py'}
    assert not heavy & set(modules)


def test_unknown_command():
    done = subprocess.run(
        [sys.executable, '-c', 'from aiida_mlfc.cli.root import cmd_root; cmd_root(["scren"])'],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    assert 'scren' in done.stderr
