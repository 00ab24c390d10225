"""A second, tighter look at crystals whose verdict lies within the errors of its own computation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida.common import AttributeDict
from aiida.engine import ToContext
from aiida.orm import Dict

from aiida_mlfc.calculations.doubtful import doubtful_verdicts
from aiida_mlfc.calculations.relax import RELAXED
from aiida_mlfc.data.facts import FORCE_CONSTANTS
from aiida_mlfc.data.phonons import STABILITY

#: forces and stress are relaxed to this part of what the first look asked for
_TIGHTER = 0.1
#: options of mlfc-run where the parameters do not say
_DEFAULTS = {'fmax': 1e-6, 'smax': 1e-3, 'steps': 500, 'max_atoms': 600, 'supercell_length': 9.5, 'tolerance': 0.02}
#: the supercell may have so many times the atoms
_LARGER = 2
#: and is longer by this where the potential has no exact frequencies to find it by
_LONGER = 1.4


class SecondLook:
    """Mixed into ``mlfc.phonon``."""

    ctx: Any
    inputs: Any
    report: Any
    out: Any

    def should_look_again(self) -> bool:
        """Whether it is asked for, and there is a crystal whose imaginary mode may be an error."""
        stabilities = self.ctx.found.get(STABILITY, {})
        if not self.inputs.look_again or not stabilities:
            return False
        nodes = {f'stability_{key}': node for key, node in stabilities.items()}
        nodes |= {f'force_constants_{key}': self.ctx.found[FORCE_CONSTANTS][key] for key in stabilities}
        reasons = doubtful_verdicts(**nodes)
        if not reasons:
            return False
        self.out('output_doubts', reasons)
        self.ctx.doubts = sorted(reasons)
        return True

    def look_again(self) -> ToContext:
        """The same for these crystals alone: relaxed further, in the supercell whose truncation error is small."""
        keys = list(self.ctx.doubts)
        inputs = _thawed(self.inputs)
        # those that were relaxed, if they were
        begun = self.ctx.found.get(RELAXED, self.inputs.structures)
        inputs.structures = {key: begun[key] for key in keys}
        nac = {key: node for key, node in self.inputs.get('nac_params', {}).items() if key in keys}
        inputs.pop('nac_params', None)
        if nac:
            inputs.nac_params = nac
        inputs.look_again = False
        parameters = inputs.steps.mlfc.parameters.get_dict()
        if parameters.get('relax') is not None:
            parameters['relax'] = tighter_relaxation(parameters['relax'])
        given = parameters.get('force_constants', {})
        parameters['force_constants'] = larger_supercell(given, self._has_exact_frequencies(keys))
        inputs.steps.mlfc.parameters = Dict(parameters)
        inputs.metadata = {'call_link_label': 'second_look'}
        running = self.submit(type(self), **inputs)  # type: ignore[attr-defined]
        self.report(f'{", ".join(keys)}: imaginary modes within their errors, a second look: {running.pk}')
        return ToContext(second=running)

    def _has_exact_frequencies(self, keys: list[str]) -> bool:
        """Whether the truncation error could be measured."""
        qualities = [self.ctx.found[FORCE_CONSTANTS][key].base.attributes.get('quality') for key in keys]
        return all(quality.get('truncation_error') is not None for quality in qualities)

    def inspect_second_look(self) -> None:
        """Take the second result where there is one; the first is still in provenance."""
        outputs = self.ctx.second.outputs
        done = set(outputs[STABILITY]) if STABILITY in outputs else set()
        for name, nodes in self.ctx.found.items():
            if name in outputs:
                nodes |= {key: node for key, node in dict(outputs[name]).items() if key in done}
        if left := sorted(set(self.ctx.doubts) - done):
            self.report(f'the second look at {", ".join(left)} failed; the first result stands')


def _thawed(namespace: Mapping[str, Any]) -> AttributeDict:
    """Inputs that can be changed."""
    return AttributeDict({k: _thawed(v) if isinstance(v, Mapping) else v for k, v in namespace.items()})


def tighter_relaxation(given: dict[str, Any]) -> dict[str, Any]:
    """Parameters of a relaxation that ends closer to the minimum."""
    known = {**{name: _DEFAULTS[name] for name in ('fmax', 'smax', 'steps')}, **given}
    return known | {'fmax': known['fmax'] * _TIGHTER, 'smax': known['smax'] * _TIGHTER, 'steps': 2 * known['steps']}


def larger_supercell(given: dict[str, Any], by_its_error: bool) -> dict[str, Any]:
    """Parameters of force constants in a supercell with less truncation.

    :param by_its_error: found by its truncation error; otherwise longer.
    """
    known = {**{name: _DEFAULTS[name] for name in ('max_atoms', 'supercell_length', 'tolerance')}, **given}
    known['max_atoms'] = _LARGER * known['max_atoms']
    if by_its_error:
        return known | {'supercell_matrix': 'auto'}
    matrix = known.pop('supercell_matrix', None)
    if isinstance(matrix, list) and all(isinstance(n, int) for n in matrix):
        return known | {'supercell_matrix': [n + 1 for n in matrix]}
    return known | {'supercell_length': known['supercell_length'] * _LONGER}
