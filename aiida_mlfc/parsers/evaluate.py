"""Parser of ``mlfc.evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aiida_mlfc.data.evaluation import evaluation_node
from aiida_mlfc.exchange.arrays import read_arrays
from aiida_mlfc.exchange.names import ARRAYS_FILE
from aiida_mlfc.parsers.base import MlfcParser


class EvaluateParser(MlfcParser):
    """Energy, forces, stress and gradients, by key."""

    def attach(self, key: str, folder: Path, data: dict[str, Any]) -> None:
        """The arrays of one crystal."""
        given = self.given['structures'][key]
        node = evaluation_node(read_arrays(folder / ARRAYS_FILE), len(given.sites))
        node.label = given.label
        self.out(f'output_evaluations.{key}', node)
