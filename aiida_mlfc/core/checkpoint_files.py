"""A potential as a file: which ones ship or can be fetched, and their header. Without torch, for daemons and tables.

A safetensors file starts with the length of its JSON header (8 bytes, little-endian) and the header
(https://github.com/huggingface/safetensors#format); our settings and model card are in its ``__metadata__``.
Official MatterSim checkpoints are zip archives; see ``mattersim_files``.
"""

from __future__ import annotations

from pathlib import Path

from aiida_mlfc.core import bounded_json
from aiida_mlfc.core.checkpoint_header import CheckpointError, CheckpointHeader
from aiida_mlfc.core.mattersim_download import RELEASES, default_checkpoint, fetch
from aiida_mlfc.core.mattersim_files import is_zip, read_mattersim_header

#: written into every file; raised when the meaning of a file changes
FORMAT_VERSION = 1
FORMAT_KEY = 'aiida_mlfc_format'
#: a header longer than this is an attack or an accident, bytes
LARGEST_HEADER = 4_000_000
_SHIPPED = Path(__file__).parent / 'potentials' / 'shipped'
#: the name that stands for the default MatterSim checkpoint
MATTERSIM = 'mattersim'


def shipped_names() -> list[str]:
    """Names of the potentials in the package."""
    return sorted(path.stem for path in _SHIPPED.glob('*.safetensors'))


def published_names() -> list[str]:
    """Names of the potentials that are fetched on first use."""
    return [MATTERSIM, *RELEASES]


def resolve(name_or_path: str | Path) -> Path:
    """The file of a shipped potential, of a path, or of a published potential, fetched if it is not there yet.

    :raises CheckpointError: if there is none of these, or fetching fails.
    """
    if str(name_or_path) in shipped_names():
        return _SHIPPED / f'{name_or_path}.safetensors'
    path = Path(name_or_path).expanduser()
    if path.is_file():
        return path
    name = str(name_or_path).lower()
    if name == MATTERSIM:
        return default_checkpoint()
    if release := RELEASES.get(name.removesuffix('.pth')):
        return fetch(release)
    raise CheckpointError(
        f'potential: got {str(name_or_path)!r}, wanted a file or a shipped name: {", ".join(shipped_names())}, '
        f'or a published one: {", ".join(published_names())}'
    )


def read_header(path: Path | str) -> CheckpointHeader:
    """Architecture, settings and card, without touching the weights.

    :raises CheckpointError: if the file is missing or not a potential of this package.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f'there is no checkpoint {path}')
    if is_zip(path):
        return read_mattersim_header(path)
    try:
        with open(path, 'rb') as handle:
            length = int.from_bytes(handle.read(8), 'little')
            if not 2 <= length <= LARGEST_HEADER:
                raise CheckpointError(f'{path.name} is not a safetensors file')
            header = bounded_json.loads(handle.read(length)).get('__metadata__')
        if not isinstance(header, dict) or FORMAT_KEY not in header:
            raise CheckpointError(f'{path.name} is a safetensors file, but not one written by this package')
        if int(header[FORMAT_KEY]) > FORMAT_VERSION:
            raise CheckpointError(
                f'{path.name} has format {header[FORMAT_KEY]}, this version reads up to {FORMAT_VERSION}: '
                'update the package'
            )
        config, card = bounded_json.loads(header['config']), bounded_json.loads(header['card'])
        found = CheckpointHeader(header['architecture'], config, card)
        if not (isinstance(found.config, dict) and isinstance(found.card, dict) and found.species and found.cutoff > 0):
            raise ValueError('settings and card are to be mappings, with species and a cutoff above zero')
        return found
    except CheckpointError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f'{path.name} is not a readable checkpoint: {error}') from error
