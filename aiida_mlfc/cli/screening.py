"""A screen from files to rows: what is read, what is known from before, what is submitted, what came out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from aiida.orm import Group
from plumpy import ProcessState

from aiida_mlfc.cli.daemon import Daemon
from aiida_mlfc.cli.daemon_recovery import give_task
from aiida_mlfc.cli.profile import has_broker, load_or_create_code
from aiida_mlfc.cli.progress import watch
from aiida_mlfc.core.structures.checks import UnknownSpeciesError, check_species
from aiida_mlfc.core.structures.formula import reduced_formula
from aiida_mlfc.core.structures.reading import Crystal, read_crystals
from aiida_mlfc.data.crystals import content_sha256, crystal_key, structure_nodes
from aiida_mlfc.data.nac import read_born
from aiida_mlfc.data.outcomes import ScreenOutcome, rows_of
from aiida_mlfc.data.potential import PotentialData
from aiida_mlfc.data.screens import (
    earlier_outcomes,
    is_being_submitted,
    measured_pace,
    newest_outcomes,
    settings_sha256,
)
from aiida_mlfc.reports.rows import Row, failed_row

#: crystals in one ``mlfc.screen``: its inputs are read, written and linked as a whole at every step
SCREEN_SIZE = 500


@dataclass(frozen=True)
class Launch:
    """How the jobs of a screen are made.

    :param code_label: None for the local one.
    :param shard_size: crystals in one job at most.
    :param job_minutes: what the jobs of a shard should take together.
    :param concurrent: shards that run at the same time.
    :param options: ``metadata.options`` of the jobs.
    :param screen_size: crystals in one ``mlfc.screen`` at most.
    """

    code_label: str | None
    shard_size: int
    job_minutes: float
    concurrent: int
    options: dict[str, Any] | None = None
    screen_size: int = SCREEN_SIZE


class Screening:
    """One call of ``aiida-mlfc screen``.

    :param paths: files and folders.
    :param potential_name: shipped name or checkpoint file.
    :param overrides: laid over the protocol.
    :param relax: relax first.
    :param nac: use Born charges where a file holds them.
    :param group: label of the AiiDA group that collects the screens, made if it is not there; by default one for these
        settings.
    :param look_again: recompute crystals whose imaginary modes lie within their errors.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        potential_name: str,
        protocol: str | None,
        overrides: dict[str, Any],
        relax: bool,
        nac: bool,
        group: str | None = None,
        look_again: bool = False,
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
        self.look_again = look_again
        others = {'nac': nac, **({'look_again': True} if look_again else {})}
        self.settings = settings_sha256(self.potential.sha256, inputs, others)
        self.nodes = structure_nodes([(c.name, c.atoms, str(c.path.resolve())) for k, c in self._good()])
        self.group = group or f'mlfc/screen/{self.potential.name}/{self.settings[:8]}'
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

    def _under_way(self, running: list[Any]) -> set[str]:
        """UUIDs of structures that running screens compute, with the Born charges that are here."""
        shas = {node.uuid: sha for sha, node in self.nodes.items()}
        return {
            uuid
            for outcome in ScreenOutcome.of(running)
            for key, uuid in outcome.structure_uuids().items()
            if uuid in shas and _same_born(outcome.nac_params.get(key), self.born.get(shas[uuid]))
        }

    def run(self, launch: Launch, foreground: bool) -> None:
        """Compute what no earlier screen with the same settings has.

        :param launch: how the jobs are made.
        :param foreground: in this process, without the daemon.
        """
        found, running = self._earlier()
        if any(is_being_submitted(process) for process in running):
            click.echo('Waiting for another command, or one that was killed, to submit its screen', err=True)
        while any(is_being_submitted(process) for process in running):
            time.sleep(1)
            found, running = self._earlier()
        under_way = self._under_way(running)
        pending = {sha: node for sha, node in self.nodes.items() if sha not in found and node.uuid not in under_way}
        self.n_reused = len(found)
        self._collect([outcome.process for outcome, _ in found.values()] + running)
        if not pending and not running:
            return
        parts = screens_of(pending, launch)
        if pending:
            click.echo(f'{len(pending)} crystals to compute with {self.potential.name}', err=True)
        if foreground or not has_broker():
            if running:
                pks = ', '.join(str(process.pk) for process in running)
                click.echo(
                    f'{len(under_way)} crystals belong to screens that have not ended (PK {pks}): the daemon goes on '
                    'with them, or `verdi process kill` ends them',
                    err=True,
                )
            for part in parts:
                self._launch(part, launch, 1, run_here=True)
            return
        daemon = Daemon()
        daemon.start()
        for process in running:
            if process.process_state is ProcessState.CREATED:
                give_task(process)
        # Screens that fit beside each other are submitted at once and need this command no more.
        at_once = max(1, min(len(parts) + len(running), launch.concurrent))
        shards = max(1, launch.concurrent // at_once)
        waiting = list(parts)

        def launch_next() -> Any:
            return self._launch(waiting.pop(0), launch, shards, run_here=False) if waiting else None

        try:
            watch(running, len(pending) + len(under_way), daemon.keep_alive, launch_next, at_once)
        except RuntimeError as error:
            raise click.ClickException(str(error)) from error
        except KeyboardInterrupt:
            left = sum(map(len, waiting))
            raise click.ClickException(
                'stopped watching; what was submitted goes on while the daemon runs'
                + (f', {left} crystals were not submitted yet' if left else '')
                + '. The same command picks it up again'
            ) from None
        daemon.stop()

    def _launch(self, pending: dict[str, Any], launch: Launch, shards: int, run_here: bool) -> Any:
        """Run or submit a screen of the pending crystals.

        :param shards: of it that run at the same time.
        """
        from aiida.engine import run_get_node, submit

        from aiida_mlfc.workchains.screen import ScreenWorkChain

        code = load_or_create_code(launch.code_label)
        keys = {sha: crystal_key(node.get_ase(), sha) for sha, node in pending.items()}
        builder = ScreenWorkChain.get_builder_from_protocol(
            code,
            {keys[sha]: node for sha, node in pending.items()},
            self.potential,
            self.protocol,
            self.overrides,
            launch.options,
            relax=self.relax,
            nac_params={keys[sha]: node for sha, node in self.born.items() if sha in keys},
        )
        builder.shard_size, builder.job_minutes, builder.max_concurrent = launch.shard_size, launch.job_minutes, shards
        if (pace := measured_pace(self.settings)) is not None:
            builder.seconds_per_cost = pace
        builder.settings, builder.look_again = self.settings, self.look_again
        builder.metadata.label = f'{len(pending)} crystals, {self.potential.name}'
        process = run_get_node(builder)[1] if run_here else submit(builder)
        self._collect([process])
        return process

    def _collect(self, processes: list[Any]) -> None:
        """Put screens into the group of this call; those that are in it already stay."""
        group, _ = Group.collection.get_or_create(self.group)
        new = {process.pk: process for process in processes}
        for node in group.nodes:
            new.pop(node.pk, None)
        group.add_nodes(list(new.values()))

    def rows(self) -> list[Row]:
        """One row for each crystal of each file, in their order."""
        found, _ = self._earlier()
        missing = [self.nodes[sha].pk for sha in self.sha256s.values() if sha not in found]
        newest = newest_outcomes(self.settings, missing)
        screens = {outcome.process.pk: outcome for outcome, _ in [*found.values(), *newest.values()]}
        made = {(outcome.process.pk, key): row for row, outcome, key in rows_of(list(screens.values()))}
        rows: list[Row] = []
        for k, crystal in enumerate(self.crystals):
            if k in self.refused:
                rows.append(self.refused[k])
                continue
            pair = found.get(self.sha256s[k]) or newest.get(self.nodes[self.sha256s[k]].pk)
            if pair is not None:
                outcome, key = pair
                rows.append({**made[outcome.process.pk, key], 'name': crystal.name})
            else:
                uuid = self.nodes[self.sha256s[k]].uuid
                rows.append(failed_row(crystal.name, 'was not submitted', structure_uuid=uuid))
        return rows


def screens_of(pending: dict[str, Any], launch: Launch) -> list[dict[str, Any]]:
    """Cut what is pending into screens of bounded size: no process ever holds ten thousand crystals."""
    items = list(pending.items())
    n_screens = -(-len(items) // launch.screen_size)
    return [dict(items[k::n_screens]) for k in range(n_screens)]


def _same_born(first: Any, second: Any) -> bool:
    """Whether two nodes hold the same Born charges and dielectric tensor; None holds none."""
    if first is None or second is None:
        return first is second
    return all(np.allclose(first.get_array(name), second.get_array(name)) for name in ('born', 'dielectric'))
