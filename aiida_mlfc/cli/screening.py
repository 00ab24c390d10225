"""A screen from files to rows: what is read, what is known from before, what is submitted, what came out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np

from aiida_mlfc.cli.profile import Daemon, has_broker, load_or_create_code
from aiida_mlfc.cli.progress import watch
from aiida_mlfc.core.structures.checks import UnknownSpeciesError, check_species
from aiida_mlfc.core.structures.formula import reduced_formula
from aiida_mlfc.core.structures.reading import Crystal, read_crystals
from aiida_mlfc.data.crystals import content_sha256, crystal_key, structure_nodes
from aiida_mlfc.data.nac import read_born
from aiida_mlfc.data.outcomes import ScreenOutcome
from aiida_mlfc.data.potential import PotentialData
from aiida_mlfc.data.screens import EXTRA_SETTINGS, earlier_outcomes, settings_sha256
from aiida_mlfc.reports.rows import Row, failed_row


class Screening:
    """One call of ``aiida-mlfc screen``.

    :param paths: files and folders.
    :param potential_name: shipped name or checkpoint file.
    :param overrides: laid over the protocol.
    :param relax: relax first.
    :param nac: use Born charges where a file holds them.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        potential_name: str,
        protocol: str | None,
        overrides: dict[str, Any],
        relax: bool,
        nac: bool,
    ) -> None:
        from aiida_mlfc.workchains.protocol import protocol_inputs

        self.protocol, self.overrides, self.relax, self.nac = protocol, overrides, relax, nac
        inputs = protocol_inputs('phonon', protocol, overrides)
        if not relax:
            inputs.pop('relax')
        self.potential = PotentialData.get_or_create(potential_name)
        self.crystals = list(read_crystals(paths))
        if not self.crystals:
            raise ValueError(f'found no structure in {", ".join(map(str, paths))}')
        #: rows of files that cannot be used with this potential, by position
        self.refused: dict[int, Row] = {}
        self.born: dict[str, Any] = {}
        self.sha256s: dict[int, str] = {}
        for k, crystal in enumerate(self.crystals):
            self._take(k, crystal)
        self.settings = settings_sha256(self.potential.sha256, inputs, {'nac': nac})
        self.nodes = structure_nodes([(c.name, c.atoms, str(c.path.resolve())) for k, c in self._good()])
        self.n_reused = 0

    def _good(self) -> list[tuple[int, Any]]:
        return [(k, crystal) for k, crystal in enumerate(self.crystals) if k in self.sha256s]

    def _take(self, k: int, crystal: Crystal) -> None:
        """Accept a crystal, or write its row now."""
        if crystal.atoms is None:
            self.refused[k] = failed_row(crystal.name, crystal.error)
            return
        formula = reduced_formula(crystal.atoms)
        try:
            check_species(crystal.atoms.numbers, self.potential.species)
            sha256 = content_sha256(crystal.atoms, crystal.name)
            if self.nac and crystal.born is not None:
                symprec = 1e-4
                self.born[sha256] = read_born(crystal.born, crystal.atoms, symprec)
        except (UnknownSpeciesError, ValueError) as error:
            self.refused[k] = failed_row(
                crystal.name,
                str(error),
                formula=formula,
                n_atoms=len(crystal.atoms),
                potential=self.potential.name,
                potential_sha256=self.potential.sha256,
            )
            return
        self.sha256s[k] = sha256

    def _earlier(self) -> tuple[dict[str, tuple[ScreenOutcome, str]], list[Any]]:
        """:func:`earlier_outcomes`, without those that were made with other Born charges, or with none."""
        found, running = earlier_outcomes(self.settings, self.sha256s.values())
        same = {
            sha: (outcome, key)
            for sha, (outcome, key) in found.items()
            if _same_born(outcome.nac_params.get(key), self.born.get(sha))
        }
        return same, running

    def run(
        self, code_label: str | None, shard_size: int, foreground: bool, options: dict[str, Any] | None = None
    ) -> None:
        """Compute what no earlier screen with the same settings has.

        :param options: ``metadata.options`` of the jobs.
        """
        launch = partial(self._launch, code_label=code_label, shard_size=shard_size, options=options)
        found, running = self._earlier()
        under_way = {str(node.uuid) for process in running for node in dict(process.inputs.structures).values()}
        pending = {sha: node for sha, node in self.nodes.items() if sha not in found and node.uuid not in under_way}
        self.n_reused = len(found)
        if not pending and not running:
            return
        if foreground or not has_broker():
            if pending:
                launch(pending, run_here=True)
            return
        daemon = Daemon()
        daemon.start()
        waiting = running + ([launch(pending, run_here=False)] if pending else [])
        try:
            watch(waiting, sum(len(dict(process.inputs.structures)) for process in waiting), daemon.is_alive)
        except RuntimeError as error:
            raise click.ClickException(str(error)) from error
        except KeyboardInterrupt:
            raise click.ClickException(
                'stopped watching; the computation goes on while the daemon runs. The same command picks it up again'
            ) from None
        daemon.stop()

    def _launch(
        self,
        pending: dict[str, Any],
        code_label: str | None,
        shard_size: int,
        options: dict[str, Any] | None,
        run_here: bool,
    ) -> Any:
        """Run or submit a screen of the pending crystals."""
        from aiida.engine import run_get_node, submit

        from aiida_mlfc.workchains.screen import ScreenWorkChain

        code = load_or_create_code(code_label)
        keys = {sha: crystal_key(node.get_ase(), sha) for sha, node in pending.items()}
        builder = ScreenWorkChain.get_builder_from_protocol(
            code,
            {keys[sha]: node for sha, node in pending.items()},
            self.potential,
            self.protocol,
            self.overrides,
            options,
            relax=self.relax,
            nac_params={keys[sha]: node for sha, node in self.born.items() if sha in keys},
        )
        builder.shard_size = shard_size
        builder.metadata.label = f'{len(pending)} crystals, {self.potential.name}'
        click.echo(f'{len(pending)} crystals to compute with {self.potential.name}', err=True)
        process = run_get_node(builder)[1] if run_here else submit(builder)
        process.base.extras.set(EXTRA_SETTINGS, self.settings)
        return process

    def rows(self) -> list[Row]:
        """One row for each crystal of each file, in their order."""
        found, _ = self._earlier()
        rows = []
        outcomes: dict[int, ScreenOutcome] = {}
        for k, crystal in enumerate(self.crystals):
            if k in self.refused:
                rows.append(self.refused[k])
            elif self.sha256s[k] in found:
                outcome, key = found[self.sha256s[k]]
                rows.append(outcome.row(key, crystal.name))
            else:
                rows.append(self._unfinished(crystal, self.nodes[self.sha256s[k]], outcomes))
        return rows

    def _unfinished(self, crystal: Crystal, node: Any, outcomes: dict[int, ScreenOutcome]) -> Row:
        """The row of a crystal that its screen did not finish: what the newest screen of it says."""
        from aiida.orm import QueryBuilder, StructureData, WorkChainNode

        query = QueryBuilder()
        query.append(StructureData, filters={'id': node.pk}, tag='structure')
        query.append(
            WorkChainNode,
            with_incoming='structure',
            tag='screen',
            project='*',
            edge_project=['label'],
            filters={f'extras.{EXTRA_SETTINGS}': self.settings},
        )
        query.order_by({'screen': {'ctime': 'desc'}})
        newest = query.first()
        if newest is None:
            return failed_row(crystal.name, 'was not submitted', structure_uuid=node.uuid)
        process, label = newest
        outcome = outcomes.setdefault(process.pk, ScreenOutcome(process))
        return outcome.row(label.removeprefix('structures__'), crystal.name)


def _same_born(first: Any, second: Any) -> bool:
    """Whether two nodes hold the same Born charges and dielectric tensor; None holds none."""
    if first is None or second is None:
        return first is second
    return all(np.allclose(first.get_array(name), second.get_array(name)) for name in ('born', 'dielectric'))
