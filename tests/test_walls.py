"""The walls of DESIGN.md section 1: which room may import what, by the source and in fresh interpreters."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / 'aiida_mlfc'
FILES = sorted(PACKAGE.rglob('*.py'))

#: distributions that import torch, torch first
TORCH_FAMILY = {'torch', 'e3nn', 'torchpme', 'mattersim', 'metatomic', 'metatensor', 'torch_scatter', 'torch_geometric'}
AIIDA_FAMILY = {'aiida', 'aiida_phonopy', 'aiida_pseudo', 'aiida_quantumespresso', 'plumpy', 'kiwipy'}

TORCH_ROOMS = ('core.potentials', 'runner')
AIIDA_SIDE = ('data', 'calculations', 'parsers', 'workchains', 'cli')

#: what each room may import besides itself and the ground floor (``core`` = files that lie directly in core/)
_TORCH_FREE_CORE = {
    'core', 'core.structures', 'core.force_constants', 'core.references', 'core.phonons', 'core.comparison'
}
_FOR_AIIDA = _TORCH_FREE_CORE | {'exchange', 'reports'}
MAY_IMPORT = {
    '': set(),
    'core': set(),
    'core.structures': {'core'},
    'core.potentials': {'core', 'core.structures'},
    'core.force_constants': {'core', 'core.structures'},
    'core.references': {'core', 'core.structures', 'core.force_constants'},
    'core.phonons': {'core', 'core.structures', 'core.force_constants'},
    'core.comparison': {'core', 'core.structures', 'core.force_constants', 'core.phonons'},
    # not in the table of notes/style.md: the quality record (residual force, sum rule) is a column of every row
    'reports': {'core', 'core.force_constants', 'core.phonons', 'core.comparison'},
    'exchange': {'core', 'core.structures'},
    'runner': _TORCH_FREE_CORE | {'core.potentials', 'exchange'},
    'data': _FOR_AIIDA,
    'calculations': _FOR_AIIDA | {'data'},
    # a parser reads what its calculation declares: file names, exit codes
    'parsers': _FOR_AIIDA | {'data', 'calculations'},
    'workchains': _FOR_AIIDA | {'data', 'calculations', 'parsers'},
    'cli': _FOR_AIIDA | {'data', 'calculations', 'parsers', 'workchains'},
}

LONGEST_FILE = 300
CATCH_ALL_NAMES = {'utils', 'util', 'helpers', 'helper', 'common', 'misc', 'tools'}


def module_name(path: Path) -> str:
    """Dotted name of a file of the package."""
    parts = path.relative_to(PACKAGE.parent).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


def room_of(module: str) -> str:
    """The key of ``MAY_IMPORT`` that a dotted name of the package belongs to."""
    inner = module.split('.')[1:]
    depth = 2 if inner[:1] == ['core'] else 1
    while depth and not (PACKAGE / Path(*inner[:depth])).is_dir():
        depth -= 1
    return '.'.join(inner[:depth])


def imports_of(path: Path) -> Iterator[tuple[int, str]]:
    """Line and absolute dotted name of everything a file imports, at any depth, relative imports resolved.

    ``from a import b`` gives ``a.b``: ``b`` may be a module. ``import_module('a')`` counts.
    """
    package = module_name(path).split('.')
    if path.name != '__init__.py':
        package = package[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            start = '.'.join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, f'{start}.{alias.name}') for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, 'id', '')
            if name in ('import_module', '__import__', 'importorskip', 'find_spec'):
                yield node.lineno, str(node.args[0].value)


def files_of(*rooms: str) -> list[Path]:
    """Files whose room is one of ``rooms``, or lies below one."""
    inside = [f for f in FILES if any(room_of(module_name(f)).startswith(room) for room in rooms)]
    assert inside, f'found no module in {rooms} under {PACKAGE}'
    return inside


def import_without(blocked: set[str], files: list[Path]) -> dict[str, str]:
    """Import modules in one fresh interpreter where ``blocked`` are not installed; the errors by module."""
    code = f"""
import importlib, json, sys, traceback, warnings
blocked = set({sorted(blocked)!r})

class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in blocked:
            raise ModuleNotFoundError(f'No module named {{name!r}} (blocked by test_walls)', name=name)

sys.meta_path.insert(0, NotInstalled())
errors, done = {{}}, 0
for module in {[module_name(f) for f in files]!r}:
    try:
        importlib.import_module(module)
        done += 1
    except BaseException as error:
        frames = traceback.extract_tb(error.__traceback__)
        where = [f'{{f.filename}}:{{f.lineno}}' for f in frames if 'aiida_mlfc' in f.filename]
        errors[module] = f'{{type(error).__name__}}: {{error}}, through {{" <- ".join(reversed(where))}}'
loaded = sorted(blocked & set(sys.modules))
print('RESULT' + json.dumps([done, errors, loaded]))
"""
    run = subprocess.run(
        [sys.executable, '-c', code], cwd=PACKAGE.parent, capture_output=True, text=True, timeout=120, check=False
    )
    assert 'RESULT' in run.stdout, run.stderr[-2000:]
    done, errors, loaded = json.loads(run.stdout.rpartition('RESULT')[2])
    assert not loaded
    assert done + len(errors) == len(files)
    return errors


def test_modules_are_found():
    names = {module_name(f) for f in FILES}
    assert {'aiida_mlfc', 'aiida_mlfc.core.units', 'aiida_mlfc.core.potentials.dx.model'} <= names
    assert room_of('aiida_mlfc.core.potentials.dx.model') == 'core.potentials'
    assert room_of('aiida_mlfc.core.units') == 'core'
    assert room_of('aiida_mlfc.runner.main') == 'runner'
    assert {room_of(n) for n in names} <= set(MAY_IMPORT), 'a room is missing from MAY_IMPORT'


@pytest.mark.parametrize(('source', 'found'), [
    ('import torch.nn as nn', 'torch.nn'),
    ('from torch import Tensor', 'torch.Tensor'),
    ('def f():\n    import torch', 'torch'),
    ('from importlib import import_module\nimport_module("torch")', 'torch'),
    ('from ...core.potentials import dx', 'aiida_mlfc.core.potentials.dx'),
    ('from . import rows', 'aiida_mlfc.core.phonons.rows'),
])
def test_imports_are_seen(tmp_path, monkeypatch, source, found):
    """The reader of imports itself, on sources that break a wall."""
    monkeypatch.setattr(sys.modules[__name__], 'PACKAGE', tmp_path / 'aiida_mlfc')
    path = tmp_path / 'aiida_mlfc' / 'core' / 'phonons' / 'module.py'
    path.parent.mkdir(parents=True)
    path.write_text(source)
    assert found in {name for _, name in imports_of(path)}


def test_compute_node_needs_no_aiida():
    errors = import_without(AIIDA_FAMILY, files_of('core', 'exchange', 'reports', 'runner'))
    assert not errors, '\n'.join(f'{module}: {error}' for module, error in errors.items())


def test_daemon_needs_no_torch():
    rooms = (*AIIDA_SIDE, 'exchange', 'reports', 'core')
    files = [f for f in files_of(*rooms) if room_of(module_name(f)) != 'core.potentials']
    errors = import_without(TORCH_FAMILY, [PACKAGE / '__init__.py', *files])
    assert not errors, '\n'.join(f'{module}: {error}' for module, error in errors.items())


def test_blocking_works():
    """A module that needs torch fails where torch is blocked, and says which one it was."""
    core = PACKAGE / 'core'
    errors = import_without({'torch'}, [core / 'potentials' / 'interface.py', core / 'units.py'])
    assert list(errors) == ['aiida_mlfc.core.potentials.interface']
    assert 'interface.py' in errors['aiida_mlfc.core.potentials.interface']


@pytest.mark.parametrize('path', FILES, ids=module_name)
def test_torch_and_aiida_stay_in_their_rooms(path):
    room = room_of(module_name(path))
    roots = {(line, name.partition('.')[0]) for line, name in imports_of(path)}
    if room not in TORCH_ROOMS:
        assert not [r for r in roots if r[1] in TORCH_FAMILY], f'torch outside {TORCH_ROOMS}'
    if room not in AIIDA_SIDE:
        assert not [r for r in roots if r[1] in AIIDA_FAMILY], f'AiiDA outside {AIIDA_SIDE}'
    if room.startswith('core'):
        assert not [r for r in roots if r[1] == 'click'], 'click in core'


@pytest.mark.parametrize('path', FILES, ids=module_name)
def test_rooms_import_only_what_lies_before_them(path):
    room = room_of(module_name(path))
    allowed = MAY_IMPORT[room] | {room}
    wrong = [
        f'line {line}: {name}' for line, name in imports_of(path)
        if name.startswith('aiida_mlfc.') and name != 'aiida_mlfc.__version__' and room_of(name) not in allowed
    ]
    assert not wrong, f'{room or "the top"} may import {sorted(allowed)}, not {wrong}'


def test_table_has_no_circle():
    """The table itself only points one way."""
    done: set[str] = set()
    while left := set(MAY_IMPORT) - done:
        free = {room for room in left if MAY_IMPORT[room] <= done}
        assert free, f'a circle among {sorted(left)}'
        done |= free
    for one, other in (('core.potentials', 'core.force_constants'), ('core.force_constants', 'core.potentials')):
        assert other not in MAY_IMPORT[one]


def test_no_import_circle():
    """No module can reach itself along imports of the package, those inside functions included."""
    names = {module_name(f) for f in FILES}
    arrows = {}
    for path in FILES:
        targets = {name if name in names else name.rpartition('.')[0] for _, name in imports_of(path)}
        arrows[module_name(path)] = (targets & names) - {module_name(path)}
    assert sum(map(len, arrows.values())) > len(names) // 2
    done: set[str] = set()
    while left := set(arrows) - done:
        free = {m for m in left if arrows[m] <= done}
        assert free, f'an import circle among {sorted(left)}'
        done |= free


@pytest.mark.parametrize('path', [f for f in FILES if f.name == '__init__.py'], ids=module_name)
def test_init_files_hold_a_docstring_only(path):
    body = ast.parse(path.read_text(encoding='utf-8')).body
    statements = body[1:] if body and ast.get_docstring(ast.Module(body, [])) is not None else body
    if path.parent != PACKAGE:
        assert not statements, f'line {statements[0].lineno}: only a docstring belongs here'
        return
    assert '__getattr__' in {s.name for s in statements if isinstance(s, ast.FunctionDef)}
    at_top = [s for s in statements if isinstance(s, ast.Import | ast.ImportFrom)]
    modules = {alias.name if isinstance(s, ast.Import) else s.module for s in at_top for alias in s.names}
    assert modules <= {'typing', '__future__', 'importlib', 'collections.abc'}, 'the top level imports nothing heavy'


@pytest.mark.parametrize('path', FILES, ids=module_name)
def test_files_are_short_and_well_named(path):
    assert not {path.stem, *path.relative_to(PACKAGE).parts[:-1]} & CATCH_ALL_NAMES, 'a catch-all name'
    n_lines = len(path.read_text(encoding='utf-8').splitlines())
    assert n_lines <= LONGEST_FILE, f'{n_lines} lines: it wants to be two files'


def test_public_names_are_lazy_and_exist():
    code = """
import sys, aiida_mlfc
heavy = {'torch', 'aiida', 'numpy', 'ase', 'phonopy'} & set(sys.modules)
assert not heavy, heavy
assert aiida_mlfc.__all__
for name in aiida_mlfc.__all__:
    assert callable(getattr(aiida_mlfc, name)), name
    assert name in dir(aiida_mlfc)
try:
    aiida_mlfc.no_such_name
except AttributeError as error:
    assert 'no_such_name' in str(error)
else:
    raise AssertionError('an unknown name was found')
"""
    run = subprocess.run([sys.executable, '-c', code], cwd=PACKAGE.parent, capture_output=True, text=True, timeout=120,
                         check=False)
    assert run.returncode == 0, run.stderr[-2000:]
