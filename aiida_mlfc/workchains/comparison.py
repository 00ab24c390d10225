"""``mlfc.comparison``: autograd, finite differences and DFT side by side; whose part of the disagreement is whose."""

from __future__ import annotations

from typing import Any

import numpy as np
from aiida.common import AttributeDict
from aiida.engine import ExitCode, ProcessBuilder, WorkChain, append_, while_
from aiida.orm import Dict, List, SinglefileData, Str, load_code
from aiida_phonopy.data import ForceConstantsData
from ase.data import atomic_numbers

from aiida_mlfc.calculations.base import validate_keys
from aiida_mlfc.calculations.comparison import compare_force_constants, names_of, reference_structure, summarise
from aiida_mlfc.calculations.comparison_page import POTENTIAL, REFERENCE, comparison_page
from aiida_mlfc.calculations.relax import RELAXED
from aiida_mlfc.core.structures.checks import UnknownSpeciesError, check_species
from aiida_mlfc.data.facts import FORCE_CONSTANTS
from aiida_mlfc.data.potential import PotentialData
from aiida_mlfc.workchains.adopting import AdoptsChildren
from aiida_mlfc.workchains.job_options import set_job_options
from aiida_mlfc.workchains.protocol import protocol_inputs
from aiida_mlfc.workchains.restart import NAMESPACE, ForceConstantsWorkChain, RelaxWorkChain

#: Å; the error of central differences falls with the square of the step, and two steps show that it does
DEFAULT_STEPS = (0.01, 0.02)
DEFAULT_CONCURRENT = 2
#: what a set of force constants is for, the key of its results
AUTOGRAD, OWN = 'autograd', 'own_geometry'


class ComparisonWorkChain(AdoptsChildren, WorkChain):
    """Errors of one potential against references: numerics, model and relaxation told apart, crystal by crystal."""

    @classmethod
    def define(cls, spec: Any) -> None:
        """Inputs, outline, outputs."""
        super().define(spec)
        spec.input_namespace('references', valid_type=ForceConstantsData, dynamic=True, validator=validate_keys)
        spec.input('potential', valid_type=PotentialData)
        excluded = tuple(f'{NAMESPACE}.{port}' for port in ('structures', 'potential', 'parent_folder', 'nac_params'))
        spec.expose_inputs(
            RelaxWorkChain,
            namespace='relax',
            exclude=excluded,
            namespace_options={
                'required': False,
                'populate_defaults': False,
                'help': 'Leave out to compare at the geometry of the references only.',
            },
        )
        spec.expose_inputs(ForceConstantsWorkChain, namespace='force_constants', exclude=excluded)
        spec.input(
            'steps',
            valid_type=List,
            default=lambda: List(list(DEFAULT_STEPS)),
            help='Finite-difference steps, Å; none for an empty list.',
        )
        spec.input(
            'nac',
            valid_type=Str,
            default=lambda: Str('shared'),
            help='shared: the Born charges of the reference for both sides; off: for neither.',
        )
        spec.input('make_page', valid_type=bool, non_db=True, default=True)
        spec.input(
            'max_concurrent',
            valid_type=int,
            non_db=True,
            default=DEFAULT_CONCURRENT,
            help='Jobs that run at the same time.',
        )
        spec.outline(
            cls.setup,
            while_(cls.has_jobs)(cls.run_jobs, cls.inspect_jobs),
            cls.queue_own_geometry,
            while_(cls.has_jobs)(cls.run_jobs, cls.inspect_jobs),
            cls.compare,
            cls.results,
        )
        spec.output_namespace(
            'comparisons', valid_type=Dict, dynamic=True, help='By key: row, split, comparison, cost.'
        )
        for name in (AUTOGRAD, OWN):
            spec.output_namespace(name, valid_type=ForceConstantsData, dynamic=True, required=False)
        spec.output('summary', valid_type=Dict, help='Rows of all crystals, and their aggregate.')
        spec.output('page', valid_type=SinglefileData, required=False, help='Self-contained HTML, worst first.')
        spec.exit_code(
            411, 'ERROR_SOME_CRYSTALS_FAILED', message='Nothing compared for {keys}; the rows of the summary say why.'
        )

    @classmethod
    def get_builder_from_protocol(
        cls,
        code: Any,
        references: dict[str, ForceConstantsData],
        potential: PotentialData,
        protocol: str | None = None,
        overrides: dict[str, Any] | None = None,
        options: dict[str, Any] | None = None,
        relax: bool = True,
        relax_cell: bool = False,
        nac: str = 'shared',
        steps: tuple[float, ...] = DEFAULT_STEPS,
    ) -> ProcessBuilder:
        """A builder with everything filled in.

        :param code: the ``mlfc-run`` code, a node or its label.
        :param references: by key, which becomes a file name.
        :param protocol: of ``phonon``; supercells are those of the references, whatever it says.
        :param overrides: laid over the protocol, ``{'relax': {...}, 'force_constants': {...}}``.
        :param options: ``metadata.options`` of the jobs, and ``workers``: processes in a job, a number or ``auto``.
        :param relax: compare at the potential's own geometry too.
        :param relax_cell: let the cell relax as well; needs a potential trained on stress.
        :param nac: ``shared``, ``both`` or ``off``.
        :param steps: of finite differences, Å.
        """
        inputs = protocol_inputs('phonon', protocol, overrides)
        inputs['relax']['parameters']['relax_cell'] = relax_cell
        for name in ('supercell_matrix', 'supercell_length', 'method', 'distance', 'symprec'):
            # a reference decides these
            inputs['force_constants']['parameters'].pop(name, None)
        builder = cls.get_builder()
        builder.references = dict(references)
        builder.potential = potential
        builder.nac, builder.steps = Str(nac), List(list(steps))
        for name in ('relax', 'force_constants'):
            if name == 'relax' and not relax:
                builder.pop('relax')
                continue
            step = getattr(builder, name)[NAMESPACE]
            step.code = load_code(code) if isinstance(code, str) else code
            step.parameters = Dict(inputs[name]['parameters'])
            set_job_options([step], options)
        return builder

    def setup(self) -> None:
        """The geometry of each reference; crystals with equal supercells go into one job."""
        references = self.inputs.references
        self.ctx.structures = {}
        self.ctx.names = names_of(references)
        self.ctx.found = {}
        self.ctx.failures = {}
        for key, node in references.items():
            try:
                # its numbers are those of kinds, which may have names of their own
                check_species([atomic_numbers[symbol] for symbol in node.symbols], self.inputs.potential.species)
            except UnknownSpeciesError as error:
                self.ctx.failures[key] = str(error)
                continue
            self.ctx.structures[key] = reference_structure(node)
        self.ctx.queue = []
        self.ctx.count = 0
        methods: dict[str, dict[str, Any]] = {AUTOGRAD: {'method': 'autograd'}}
        for k, step in enumerate(self.inputs.steps.get_list()):
            methods[f'difference_{k}'] = {
                'method': 'finite_difference',
                'distance': float(step),
                'truncation_qpoints': 0,
            }
        if 'relax' in self.inputs and self.ctx.structures:
            self.ctx.queue.append(('relax', {}, sorted(self.ctx.structures)))
        for label, parameters in methods.items():
            self._queue_force_constants(label, parameters, self.ctx.structures)

    def _queue_force_constants(self, label: str, parameters: dict[str, Any], structures: dict[str, Any]) -> None:
        groups: dict[tuple[Any, ...], list[str]] = {}
        for key in sorted(structures):
            node = self.inputs.references[key]
            matrix = np.rint(node.supercell_matrix).astype(int)
            groups.setdefault((*matrix.ravel().tolist(), float(node.symprec)), []).append(key)
        for (*matrix, symprec), keys in groups.items():
            cells = {'supercell_matrix': np.reshape(matrix, (3, 3)).tolist(), 'symprec': symprec}
            self.ctx.queue.append((label, {**parameters, **cells}, keys))

    def has_jobs(self) -> bool:
        """Whether any job waits."""
        return bool(self.ctx.queue)

    def run_jobs(self) -> None:
        """The next jobs, as many as may run at once."""
        count = max(1, self.inputs.max_concurrent)
        self.ctx.now, self.ctx.queue = self.ctx.queue[:count], self.ctx.queue[count:]
        self.ctx.running = []
        for label, parameters, keys in self.ctx.now:
            process, namespace = (
                (RelaxWorkChain, 'relax') if label == 'relax' else (ForceConstantsWorkChain, 'force_constants')
            )
            inputs = AttributeDict(self.exposed_inputs(process, namespace))
            structures = self.ctx.relaxed if label == OWN else self.ctx.structures
            inputs[NAMESPACE].structures = {key: structures[key] for key in keys}
            inputs[NAMESPACE].potential = self.inputs.potential
            inputs[NAMESPACE].parameters = Dict({**inputs[NAMESPACE].parameters.get_dict(), **parameters})
            call_link_label = f'{label}_{self.ctx.count:02d}'
            inputs.metadata = {**inputs.get('metadata', {}), 'call_link_label': call_link_label}
            running = self.submit(process, **inputs)
            self.ctx.count += 1
            self.report(f'{label} of {len(keys)} crystals: {process.__name__}<{running.pk}>')
            self.to_context(running=append_(running))

    def inspect_jobs(self) -> None:
        """Keep what each job made, and why the others have nothing."""
        for (label, _, keys), child in zip(self.ctx.now, self.ctx.running, strict=True):
            name = RELAXED if label == 'relax' else FORCE_CONSTANTS
            found = dict(child.outputs[name]) if name in child.outputs else {}
            self.ctx.found.setdefault(label, {}).update(found)
            parameters = child.outputs.output_parameters.get_dict() if 'output_parameters' in child.outputs else {}
            for key in set(keys) - set(found):
                error = parameters.get(key, {}).get('error', {}).get('message')
                text = error or f'{child.process_label}<{child.pk}> ended with exit status {child.exit_status}'
                self.ctx.failures.setdefault(key, f'{label}: {text}')

    def queue_own_geometry(self) -> None:
        """The crystals that relaxed, where they came to rest."""
        self.ctx.relaxed = self.ctx.found.get('relax', {})
        self._queue_force_constants(OWN, {'method': 'autograd', 'truncation_qpoints': 0}, self.ctx.relaxed)

    def compare(self) -> None:
        """One node for each crystal of which every part is there."""
        parts = {label: nodes for label, nodes in self.ctx.found.items() if label != 'relax'}
        for key, reference in self.inputs.references.items():
            if key in self.ctx.failures:
                continue
            others = {label: nodes[key] for label, nodes in parts.items() if label != AUTOGRAD and key in nodes}
            self.ctx[f'comparison_{key}'] = compare_force_constants(
                reference=reference,
                autograd=parts[AUTOGRAD][key],
                nac=self.inputs.nac,
                name=Str(self.ctx.names[key]),
                **others,
            )
        for label in (AUTOGRAD, OWN):
            if parts.get(label):
                self.out(label, parts[label])

    def results(self) -> ExitCode | None:
        """Success means: every crystal was compared, in all parts."""
        compared = {
            key: self.ctx[f'comparison_{key}'] for key in self.inputs.references if f'comparison_{key}' in self.ctx
        }
        self.out('comparisons', compared)
        failures = Dict({self.ctx.names[key]: text for key, text in self.ctx.failures.items()})
        name = Str(self.inputs.potential.name)
        summary = summarise(name, failures, **compared)
        self.out('summary', summary)
        refused = [key for key, node in compared.items() if node['row']['status'] != 'ok']
        if self.inputs.make_page and (good := sorted(set(compared) - set(refused))):
            shown = {f'{REFERENCE}{key}': self.inputs.references[key] for key in good}
            shown |= {f'{POTENTIAL}{key}': self.ctx.found[AUTOGRAD][key] for key in good}
            self.out('page', comparison_page(summary, self.inputs.nac, name, **shown))
        missing = sorted({*self.ctx.failures, *refused})
        if missing:
            return self.exit_codes.ERROR_SOME_CRYSTALS_FAILED.format(keys=', '.join(missing))
        return None
