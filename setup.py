"""Hands setup.json, the one source of metadata, to setuptools."""

import json
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
setup(
    packages=find_packages(include=['aiida_mlfc', 'aiida_mlfc.*']),
    package_data={'aiida_mlfc': ['**/*.yaml', '**/*.html', '**/*.js', '**/*.css', '**/*.safetensors', 'py.typed']},
    long_description=(HERE / 'README.md').read_text(),
    long_description_content_type='text/markdown',
    **json.loads((HERE / 'setup.json').read_text()),
)
