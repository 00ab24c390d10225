"""What an official MatterSim checkpoint says about itself, read without torch and without running anything in it.

A ``.pth`` file is a zip archive (torch >= 1.6) whose ``data.pkl`` is a pickle of dictionaries, with the numbers of each
tensor in a part of its own. A pickle is a program for a stack machine; the one below knows the instructions that
``torch.save`` writes and has nothing that could be called: a name in the file is compared with a list and stays a name.
"""

from __future__ import annotations

import pickletools
import re
import struct
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Any

from aiida_mlfc.core import bounded_json
from aiida_mlfc.core.checkpoint_header import CheckpointError, CheckpointHeader

#: name of the architecture in this package, and the one that official files state
ARCHITECTURE, MODEL_NAME = 'mattersim', 'm3gnet'
#: of the published weights; the authors trained on energies, forces and stresses
LICENCE = 'MIT'
CITATION = 'H. Yang et al., MatterSim, arXiv:2405.04967'
#: where files that this package wrote hold their card
CARD_KEY = 'aiida_mlfc_card'
#: the pickle of the published 5M model, without numbers of tensors, has about 0.1 MB; bytes
LARGEST_PICKLE = 16_000_000
#: the heaviest element with a name
LARGEST_Z = 118
#: how every zip archive starts that has a part
ZIP_START = b'PK\x03\x04'

#: names that tensors and dictionaries of tensors are written with; any other is refused
_HARMLESS = re.compile(
    r'collections OrderedDict|torch\._utils _rebuild_(tensor_v2|parameter)|torch Size|torch device'
    r'|torch (Float|Double|Half|BFloat16|Long|Int|Short|Char|Byte|Bool)Storage'
    r'|torch (float|bfloat|int)(16|32|64)|torch u?int8|torch bool'
)
_CONSTANTS = {'NONE': None, 'NEWTRUE': True, 'NEWFALSE': False}
_VALUES = {'BININT', 'BININT1', 'BININT2', 'LONG1', 'BINFLOAT', 'BINUNICODE', 'SHORT_BINUNICODE'}
_EMPTY: dict[str, type] = {'EMPTY_DICT': dict, 'EMPTY_LIST': list, 'EMPTY_TUPLE': tuple}
_SHORT_TUPLES = {'TUPLE1': 1, 'TUPLE2': 2, 'TUPLE3': 3}


class _Name(str):
    """A global that the pickle names."""


class _Tensor:
    """Where a tensor, or one of its parts, stands in the pickle."""


def is_zip(path: Path) -> bool:
    """Whether the file starts like a zip archive, as torch writes."""
    with open(path, 'rb') as handle:
        return handle.read(len(ZIP_START)) == ZIP_START


def read_mattersim_header(path: Path) -> CheckpointHeader:
    """Architecture, arguments and card of a ``.pth`` file; the weights are not looked at.

    :raises CheckpointError: if it is damaged, names code, or holds another architecture.
    """
    content = _read_dictionary(path)
    missing = sorted({'model_name', 'model', 'model_args'} - set(content))
    if missing:
        raise CheckpointError(f'{path.name} lacks {missing}: it is not a MatterSim checkpoint')
    name, arguments = content['model_name'], content['model_args']
    if not isinstance(name, str) or name.lower() != MODEL_NAME:
        got = repr(name[:40]) if isinstance(name, str) else f'a {type(name).__name__}'
        raise CheckpointError(f'{path.name} holds the architecture {got}, wanted {MODEL_NAME!r} (MatterSim)')
    if not isinstance(arguments, dict) or not all(
        isinstance(key, str) and isinstance(value, int | float | str) for key, value in arguments.items()
    ):
        raise CheckpointError(f'{path.name}: model_args is no dictionary of plain numbers')
    max_z, cutoff = arguments.get('max_z'), arguments.get('cutoff')
    if isinstance(max_z, bool) or not isinstance(max_z, int) or not 1 <= max_z <= LARGEST_Z:
        raise CheckpointError(f'{path.name}: max_z is not an atomic number, wanted 1 to {LARGEST_Z}')
    if isinstance(cutoff, bool) or not isinstance(cutoff, int | float) or not 0 < cutoff < 1e6:
        raise CheckpointError(f'{path.name}: cutoff is not a positive length in Å')
    # Row 0 of its tables stands for no element.
    config = {**arguments, 'species': list(range(1, max_z + 1))}
    return CheckpointHeader(ARCHITECTURE, config, card(path.stem, content.get('description'), content.get(CARD_KEY)))


def card(name: str, description: Any = None, stored: Any = None) -> dict[str, Any]:
    """The model card of a checkpoint; official files hold nothing of it but perhaps a description.

    :param stored: JSON, in files that this package wrote.
    :raises CheckpointError: if it is none.
    """
    if stored is not None:
        try:
            found = bounded_json.loads(stored)
            if not isinstance(found, dict):
                raise ValueError(f'a {type(found).__name__}')
        except (ValueError, TypeError, RecursionError) as error:
            raise CheckpointError(f'{name}: its card is no JSON mapping: {error}') from error
        return {**found, 'citation': CITATION}
    return {
        'name': name, 'licence': LICENCE, 'citation': CITATION,
        'description': description if isinstance(description, str) else '',
        # core.potentials.validity: cells may be relaxed, and nothing limits elements and distances
        'validity': {'has_stress': True},
    }


def _read_dictionary(path: Path) -> dict[Any, Any]:
    try:
        with zipfile.ZipFile(path) as archive:
            found = [info for info in archive.infolist() if PurePosixPath(info.filename).name == 'data.pkl']
            if len(found) != 1:
                raise CheckpointError(f'{path.name} is a zip archive without a data.pkl, wanted what torch.save writes')
            if found[0].file_size > LARGEST_PICKLE:
                raise CheckpointError(
                    f'{path.name}: data.pkl has {found[0].file_size} bytes, wanted at most {LARGEST_PICKLE}'
                )
            content = read_pickle(archive.read(found[0]))
    except CheckpointError:
        raise
    except (zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, RuntimeError) as error:
        raise CheckpointError(f'{path.name} is a damaged or truncated archive ({error}). Fetch it again.') from error
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise CheckpointError(f'{path.name} holds something else than tensors and plain values: {error}') from error
    if not isinstance(content, dict):
        raise CheckpointError(f'{path.name} holds a {type(content).__name__}, wanted a dictionary (a checkpoint)')
    return content


def read_pickle(data: bytes) -> Any:
    """The value of a pickle of plain values and tensors; each tensor becomes an empty object.

    :raises ValueError: for any instruction or name that ``torch.save`` does not write for these.
    """
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[Any, Any] = {}

    def pop_to_mark() -> list[Any]:
        start = marks.pop()
        items = stack[start:]
        del stack[start:]
        return items

    for opcode, argument, _ in pickletools.genops(data):
        name = opcode.name
        if name in _VALUES:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name in ('BINPUT', 'LONG_BINPUT'):
            memo[argument] = stack[-1]
        elif name in ('BINGET', 'LONG_BINGET'):
            stack.append(memo[argument])
        elif name == 'MARK':
            marks.append(len(stack))
        elif name in _SHORT_TUPLES:
            stack[-_SHORT_TUPLES[name] :] = [tuple(stack[-_SHORT_TUPLES[name] :])]
        elif name == 'TUPLE':
            stack.append(tuple(pop_to_mark()))
        elif name in ('APPEND', 'APPENDS'):
            items = [stack.pop()] if name == 'APPEND' else pop_to_mark()
            _expect(stack[-1], list).extend(items)
        elif name in ('SETITEM', 'SETITEMS'):
            items = [stack.pop(-2), stack.pop()] if name == 'SETITEM' else pop_to_mark()
            # Only these: the hash of tuples inside tuples can take for ever.
            if not all(isinstance(key, str | int) for key in items[::2]):
                raise ValueError('a key that is neither text nor a whole number')
            _expect(stack[-1], dict).update(zip(items[::2], items[1::2], strict=True))
        elif name == 'GLOBAL':
            asked = str(argument)
            if not _HARMLESS.fullmatch(asked):
                raise ValueError(f'it asks for {asked[:80]!r}, and running its code was refused')
            stack.append(_Name(asked))
        elif name == 'BINPERSID':
            stack[-1] = _Tensor()
        elif name == 'REDUCE':
            arguments, function = _expect(stack.pop(), tuple), _expect(stack.pop(), _Name)
            stack.append({} if function == 'collections OrderedDict' and not arguments else _Tensor())
        elif name == 'BUILD':
            # attributes of a state dict: versions of its modules
            stack.pop()
        elif name == 'STOP':
            return stack.pop()
        elif name != 'PROTO':
            raise ValueError(f'instruction {name}, which torch.save does not write for tensors and plain values')
    raise ValueError('its pickle ends early')


def _expect(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f'got a {type(value).__name__}, wanted a {kind.__name__}')
    return value
