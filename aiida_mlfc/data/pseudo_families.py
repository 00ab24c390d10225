"""Pseudopotential families from files on disk, without the network; the same files are one family."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

try:
    from aiida_pseudo.data.pseudo.upf import UpfData, parse_element
    from aiida_pseudo.groups.family import PseudoPotentialFamily
except ImportError as error:
    raise ImportError(
        'DFT references need aiida-pseudo, which is not installed: pip install "aiida-mlfc[dft]"'
    ) from error

#: in a folder of UPF files: ``{"Si": {"cutoff_wfc": 30, "cutoff_rho": 120}}``, Ry
CUTOFFS_FILE = 'cutoffs.json'


def upf_files(paths: Iterable[Path], elements: Sequence[str]) -> dict[str, Path]:
    """The one UPF file for each element.

    :param paths: files and folders.
    :raises ValueError: if an element has none, or several.
    """
    found: dict[str, list[Path]] = {element: [] for element in elements}
    looked_at = []
    for path in paths:
        candidates = [path] if path.is_file() else sorted(p for p in path.iterdir() if p.suffix.lower() == '.upf')
        looked_at.append(str(path))
        for file in candidates:
            try:
                element = parse_element(file.read_text(encoding='utf-8', errors='replace')).capitalize()
            except ValueError as error:
                if file == path:
                    raise ValueError(f'{file} names no element: is it a UPF file?') from error
                continue
            if element in found:
                found[element].append(file)
    missing = [element for element, files in found.items() if not files]
    if missing:
        raise ValueError(f'no pseudopotential for {", ".join(missing)} in {", ".join(looked_at)}')
    for element, files in found.items():
        if len(files) > 1:
            names = ', '.join(file.name for file in files)
            raise ValueError(f'several pseudopotentials for {element}: {names}; name the file instead of its folder')
    return {element: files[0] for element, files in found.items()}


def family_of_files(files: dict[str, Path]) -> str:
    """Label of the family that holds exactly these files; made if there is none.

    :param files: by element.
    """
    nodes = {}
    for element, path in sorted(files.items()):
        with path.open('rb') as handle:
            nodes[element] = UpfData.get_or_create(handle, filename=path.name)
    digest = hashlib.sha256(''.join(f'{element}{node.md5}' for element, node in nodes.items()).encode())
    label = f'mlfc/{"".join(nodes)[:40]}/{digest.hexdigest()[:12]}'
    if not PseudoPotentialFamily.collection.count(filters={'label': label}):
        family = PseudoPotentialFamily(label=label, description=', '.join(str(path) for path in files.values())).store()
        family.add_nodes([node if node.is_stored else node.store() for node in nodes.values()])
    return label


def stated_cutoffs(files: dict[str, Path]) -> tuple[float, float] | None:
    """The largest cutoffs that ``cutoffs.json`` beside the files or their headers ask for, Ry; None if one states none.

    :return: of the wave functions and of the density.
    """
    found = []
    for element, path in files.items():
        beside = path.with_name(CUTOFFS_FILE)
        entry = json.loads(beside.read_text()).get(element) if beside.exists() else None
        if entry is not None:
            found.append((float(entry['cutoff_wfc']), float(entry['cutoff_rho'])))
            continue
        header = path.read_text(encoding='utf-8', errors='replace')
        values = [re.search(rf'{name}\s*=\s*"\s*([0-9.eEdD+-]+)\s*"', header) for name in ('wfc_cutoff', 'rho_cutoff')]
        numbers = [float(value.group(1).lower().replace('d', 'e')) if value else 0.0 for value in values]
        if min(numbers) <= 0:
            return None
        found.append((numbers[0], numbers[1]))
    return max(wfc for wfc, _ in found), max(rho for _, rho in found)
