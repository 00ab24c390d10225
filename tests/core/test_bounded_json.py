"""Deep nesting is refused whatever the recursion limit is; everything else is plain JSON."""

import json
import subprocess
import sys

import pytest

from aiida_mlfc.core import bounded_json


def test_plain_json():
    value = {'a': [1, 2.5, None, True, 'x]}{['], 'b': {'c': '[[[['}}
    assert bounded_json.loads(json.dumps(value)) == value
    assert bounded_json.loads(json.dumps(value).encode()) == value


@pytest.mark.parametrize('content', ['[' * 100 + ']' * 100, '[' * 100_000, '{"a":' * 65 + '1' + '}' * 65])
def test_deep_nesting(content):
    with pytest.raises(ValueError, match='deeper than 64'):
        bounded_json.loads(content)


@pytest.mark.parametrize('content', ['{', b'\xff\xfe', ''])
def test_no_json(content):
    with pytest.raises(ValueError):  # noqa: PT011 (three kinds of it, each with its own words)
        bounded_json.loads(content)


def test_recursion_limit_does_not_matter():
    """A library that raises the limit would let Python's own parser overflow the stack."""
    code = (
        'import sys; sys.setrecursionlimit(10**9)\n'
        'from aiida_mlfc.core import bounded_json\n'
        'try: bounded_json.loads("[" * 10**6)\n'
        'except ValueError: print("refused")'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, 'refused\n'), done.stderr
