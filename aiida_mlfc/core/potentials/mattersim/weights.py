"""Official MatterSim checkpoints, read strictly: no key dropped, no code run, ``model_args`` decide the size."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aiida_mlfc.core.checkpoint_header import CheckpointError, MissingCheckpointError, sha256_of
from aiida_mlfc.core.mattersim_files import ARCHITECTURE, CARD_KEY, card, read_mattersim_header
from aiida_mlfc.core.potentials.mattersim.basis import MAX_L, MAX_N
from aiida_mlfc.core.potentials.mattersim.model import M3GNet, M3GNetConfig

#: arguments that fix the model, and the type of each
REQUIRED_ARGUMENTS = {
    'num_blocks': int, 'units': int, 'max_l': int, 'max_n': int, 'max_z': int,
    'cutoff': float, 'threebody_cutoff': float,
}
#: arguments that change memory and time but no number
HARMLESS_ARGUMENTS = frozenset({'gradient_checkpointing'})
#: a larger model than this is a damaged file: the 5M model has 4 blocks
MOST_BLOCKS = 64
#: relative difference up to which the stored radial basis is that of the stated cutoff; it was made in float32
BASIS_TOLERANCE = 1e-5


def load_mattersim(
    path: str | PathLike[str],
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = 'cpu',
    sha256: str | None = None,
) -> M3GNet:
    """The model of an official ``.pth`` file, in eval mode and with frozen weights.

    The stored numbers are float32; in float64 they are the same numbers, and everything computed from them is exact.

    :param path: the file.
    :param dtype: ``torch.float64`` (default) or ``torch.float32``.
    :param sha256: checksum that the file must have, hexadecimal.
    :raises MissingCheckpointError: if there is no such file.
    :raises CheckpointError: if it is damaged, runs code, or holds another architecture.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingCheckpointError(f'path: {path} is not a file; wanted a MatterSim checkpoint (.pth)')
    digest = sha256_of(path)
    if sha256 is not None and digest != sha256.lower():
        raise CheckpointError(f'path: {path} has sha256 {digest}, wanted {sha256}: tampered or another file')
    checkpoint = _read(path)
    try:
        model = from_official(checkpoint['model'], checkpoint['model_args'])
    except CheckpointError as error:
        raise CheckpointError(f'path: {path}: {error}') from error
    model.metadata.update(
        {
            **card(path.stem, checkpoint.get('description'), checkpoint.get(CARD_KEY)),
            'architecture': ARCHITECTURE,
            'sha256': digest,
        }
    )
    return model.to(dtype=dtype, device=device)


def _read(path: Path) -> dict[str, Any]:
    """The dictionary in the file, after checks of container, pickle and outer keys."""
    if not zipfile.is_zipfile(path):
        raise CheckpointError(
            f'path: {path} is no complete zip archive, as torch >= 1.6 writes: truncated, or another format. '
            'Fetch it again.'
        )
    try:
        with zipfile.ZipFile(path) as archive:
            # torch itself does not look at the checksums of the archive.
            damaged = archive.testzip()
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError) as error:
        raise CheckpointError(f'path: {path} is a damaged archive ({error}). Fetch it again.') from error
    if damaged is not None:
        raise CheckpointError(f'path: {path}: the checksum of its part {damaged!r} is wrong, it was altered or damaged')
    try:
        # The outer keys, and what torch does not look for: nesting that takes for ever to hash, a pickle of gigabytes.
        read_mattersim_header(path)
    except CheckpointError as error:
        raise CheckpointError(f'path: {path}: {error}') from error
    try:
        # Not by its name: torch takes a file that is called .safetensors for one.
        with open(path, 'rb') as stream:
            checkpoint: dict[str, Any] = torch.load(stream, map_location='cpu', weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).split('Please file an issue')[0].strip()
        raise CheckpointError(
            f'path: {path} holds something else than tensors and plain values, and running its code was refused. '
            f'Wanted a file as MatterSim publishes it. torch says: {reason}'
        ) from error
    except (RuntimeError, EOFError, KeyError, OSError, ValueError) as error:
        raise CheckpointError(f'path: {path} is no MatterSim checkpoint, torch cannot read it ({error})') from error
    return checkpoint


def from_official(state: Mapping[str, Tensor], model_args: Mapping[str, Any]) -> M3GNet:
    """The model with an official state dict, float32, eval mode, frozen.

    :param state: the official names and tensors; every name must match.
    :param model_args: the official constructor's arguments.
    :raises CheckpointError: if anything is missing, left over or of another shape.
    """
    config = read_arguments(model_args)
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError('model: wanted a state dict of tensors')
    _check_size(state, config)
    model = M3GNet(config)
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    lacking, surplus = sorted(set(expected) - set(state)), sorted(set(state) - set(expected))
    if lacking or surplus:
        raise CheckpointError(f'model: the state dict lacks {lacking[:4]} and has unknown {surplus[:4]}; wanted M3GNet')
    for name, shape in expected.items():
        value = state[name]
        if tuple(value.shape) != shape:
            raise CheckpointError(f'model: {name} has shape {tuple(value.shape)}, wanted {shape}')
        if not value.is_floating_point() or not bool(torch.isfinite(value).all()):
            raise CheckpointError(f'model: {name} holds values that are not finite floating-point numbers')
    _check_basis(state, model)
    model.load_state_dict(dict(state), strict=True)
    model.metadata.update(
        model_args={name: model_args[name] for name in REQUIRED_ARGUMENTS},
        n_parameters=sum(p.numel() for p in model.parameters()),
    )
    return model.requires_grad_(False).eval()


def read_arguments(model_args: Mapping[str, Any]) -> M3GNetConfig:
    """The configuration that official ``model_args`` describe.

    :raises CheckpointError: if one is missing, unknown or out of range.
    """
    if not isinstance(model_args, Mapping):
        raise CheckpointError(f'model_args: got {type(model_args).__name__}, wanted a dictionary')
    missing = set(REQUIRED_ARGUMENTS) - set(model_args)
    unknown = set(model_args) - set(REQUIRED_ARGUMENTS) - HARMLESS_ARGUMENTS
    if missing or unknown:
        raise CheckpointError(f'model_args: missing {sorted(missing)}, unknown {sorted(map(str, unknown))}')
    values: dict[str, Any] = {}
    for name, kind in REQUIRED_ARGUMENTS.items():
        value = model_args[name]
        wrong_kind = isinstance(value, bool) or not isinstance(value, (int, float) if kind is float else int)
        if wrong_kind or not 0 < value < 1e6:
            raise CheckpointError(f'model_args: {name} = {value!r}, wanted a positive {kind.__name__}')
        values[name] = kind(value)
    if (values.pop('max_l'), values.pop('max_n')) != (MAX_L, MAX_N):
        raise CheckpointError(
            f'model_args: max_l = {model_args["max_l"]}, max_n = {model_args["max_n"]}, wanted {MAX_L} and {MAX_N}: '
            'the official basis is defined for these only'
        )
    if values['num_blocks'] > MOST_BLOCKS or values['threebody_cutoff'] > values['cutoff']:
        raise CheckpointError(
            f'model_args: num_blocks = {values["num_blocks"]} (at most {MOST_BLOCKS}), threebody_cutoff = '
            f'{values["threebody_cutoff"]} Å (at most cutoff = {values["cutoff"]} Å)'
        )
    return M3GNetConfig(**values)


def _check_size(state: Mapping[str, Tensor], config: M3GNetConfig) -> None:
    """Compare sizes with one tensor before building: altered arguments must not allocate a huge model."""
    embedding = state.get('atom_embedding.mlp.0.linear.weight')
    got = None if embedding is None else tuple(embedding.shape)
    if got != (config.units, config.max_z + 1):
        raise CheckpointError(
            f'model: atom_embedding has shape {got}, wanted {(config.units, config.max_z + 1)} by model_args '
            '(units, max_z + 1)'
        )


def _check_basis(state: Mapping[str, Tensor], fresh: M3GNet) -> None:
    """The stored radial basis must be that of the cutoff, and its wave numbers equal within a degree."""
    for name, expected in fresh.state_dict().items():
        of_cutoff = name.startswith('rbf.') or name == 'sbf.factor'
        if of_cutoff and not torch.allclose(state[name].float(), expected.float(), rtol=BASIS_TOLERANCE, atol=0):
            raise CheckpointError(f'model: {name} is not that of cutoff = {fresh.cutoff} Å; the file was altered')
    coef = state['sbf.coef']
    for degree in range(1, MAX_L):
        if any(not torch.equal(coef[degree, 1], coef[degree, k]) for k in range(3, 2 * degree + 2, 2)):
            raise CheckpointError('model: sbf.coef has several wave numbers for one degree; the file was altered')
