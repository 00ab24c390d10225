"""A cluster expansion fitted to Hessian products and forces, and to forces alone: what the compute buys.

    python examples/benchmarks/hessian_products.py --reference FOLDER [--reference ...] --output FOLDER

Products are rows -Φ u of folded cells: half the difference of forces displaced by u and -u, one and more draws for
every cell and kind of displacement. Forces are those of DFT supercells, one and more of those learned from. Prior,
rest and stress are the same, changes with strain are learned by nobody, times are CPU seconds of the whole fit on one
thread. Errors are on the half of the configurations that nobody learned from, whose cost is not counted.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from aiida_mlfc.core.potentials.dx.model import DXModel
from aiida_mlfc.core.potentials.training import expansion_fit
from aiida_mlfc.core.potentials.training.batches import Material, prepare
from aiida_mlfc.core.potentials.training.defaults import (
    crystal_systems,
    default_config,
    default_recipe,
    triplet_lengths,
)
from aiida_mlfc.core.potentials.training.references import Reference, load_reference
from aiida_mlfc.runner.evaluation import evaluate

#: DFT supercells, and draws of products for each folded cell and kind
ALL = 1_000
WAYS: dict[str, list[tuple[int, int]]] = {
    'forces': [(1, 0), (2, 0), (4, 0), (8, 0), (16, 0), (ALL, 0)],
    'Hessian products': [(0, 1), (0, 2), (0, 3), (0, 4)],
    'Hessian products and forces': [(2, 1), (4, 1), (4, 2), (8, 1), (ALL, 1)],
}
#: nothing is learned, or assumed, of changes with strain and of large displacements
PRIOR = {'distortion': 0.0, 'far': 0.0}


def with_supercells(material: Material, n: int) -> Material:
    """As many DFT supercells, spread over those that there are, and no labels between wave vectors."""
    chosen = np.unique(np.linspace(0, len(material.forces) - 1, min(n, len(material.forces))).round().astype(int))
    displacements, forces = material.displacements[chosen], material.forces[chosen]
    return replace(material, displacements=displacements, forces=forces, energies=None, between=())


def curve(reference: Reference, points: list[tuple[int, int]], changes: dict[str, Any]) -> Iterator[dict[str, float]]:
    """Rows of ``seconds``, ``relative_frobenius``, ``frequency_mae`` and ``frequency_max_error`` (THz).

    :param points: supercells and draws.
    :param changes: fields of ``DXConfig``.
    """
    learned = reference.part(0)
    systems = crystal_systems([learned])
    config = default_config([learned], expansion_systems=systems, **triplet_lengths(systems, **changes), **changes)
    model = DXModel(config).double()
    model.silence()
    material = prepare(learned, model)
    for supercells, draws in points:
        if len(learned.forces) < supercells < ALL:
            continue
        recipe = default_recipe(0, 0, folded=bool(draws))
        started = time.process_time()
        with patch.multiple(expansion_fit, DRAWS=draws, MOST_SUPERCELLS=ALL):
            expansion_fit.fit_expansion(model, [with_supercells(material, supercells)], recipe, PRIOR)
        seconds = time.process_time() - started
        row = evaluate(model, reference.held_back())
        yield {
            'supercells': min(supercells, len(learned.forces)), 'draws': draws, 'seconds': seconds,
            'relative_frobenius': row['relative_frobenius_percent'] / 100,
            'frequency_mae': row['frequency_mae_THz'], 'frequency_max_error': row['frequency_max_error_THz'],
        }  # fmt: skip


def draw(found: dict[str, Any], path: Path) -> None:
    """Force constants above, frequencies below, one column a material."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6 * len(found), 6.0), layout='constrained')
    panels = figure.subplots(2, len(found), squeeze=False, sharex='col')
    for column, (material, ways) in zip(panels.T, found.items(), strict=True):
        for panel, key, factor in zip(column, ('relative_frobenius', 'frequency_mae'), (100, 1), strict=True):
            for way, rows in ways.items():
                panel.plot([r['seconds'] for r in rows], [factor * r[key] for r in rows], 'o-', label=way, markersize=4)
            panel.set_yscale('log')
        column[0].set(title=material, ylabel='Error of force constants (%)')
        column[1].set(xlabel='CPU seconds of the fit', ylabel='Mean error of frequencies (THz)')
    panels[0, 0].legend(frameon=False, fontsize='small')
    figure.savefig(path, dpi=160)


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, write ``hessian_products.json`` and ``.png``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--reference', type=Path, action='append', required=True, help='configs.extxyz.xz, meta.json')
    parser.add_argument('--model', type=json.loads, default={}, help='JSON: fields of DXConfig')
    parser.add_argument('--output', type=Path, required=True)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    given.output.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {}
    for folder in given.reference:
        reference = load_reference(folder)
        for way, points in WAYS.items():
            rows = found.setdefault(reference.name, {}).setdefault(way, [])
            for row in curve(reference, points, given.model):
                rows.append(row)
                print(
                    f'{reference.name:22} {way:28} {row["supercells"]:3.0f} supercells {row["draws"]:2.0f} draws '
                    f'{row["seconds"]:6.1f} s {100 * row["relative_frobenius"]:6.2f} %  {row["frequency_mae"]:.3f} THz '
                    f'(worst {row["frequency_max_error"]:.2f})',
                    flush=True,
                )
                (given.output / 'hessian_products.json').write_text(json.dumps(found, indent=1))
    draw(found, given.output / 'hessian_products.png')


if __name__ == '__main__':
    main()
