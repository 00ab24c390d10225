"""What ``aiida-mlfc reference compare`` does: references of the profile against a potential, in one work chain."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from aiida_mlfc.cli.profile import load_or_create_code
from aiida_mlfc.cli.screen import _options as job_options
from aiida_mlfc.core.checkpoint_header import CheckpointError
from aiida_mlfc.core.structures.formula import reduced_formula
from aiida_mlfc.data.potential import PotentialData
from aiida_mlfc.data.references import all_references
from aiida_mlfc.reports.comparison_table import print_comparisons


def chosen_references(names: Sequence[str]) -> dict[str, Any]:
    """References of the profile by key.

    :param names: labels or beginnings of uuids; all references if there are none.
    :raises click.BadParameter: for a name that fits none.
    """
    known = all_references()
    if not known:
        raise click.ClickException('there is no reference in this profile: aiida-mlfc reference import PATH...')
    for name in names:
        if not any(_is_called(node, name) for node in known):
            raise click.BadParameter(f'no reference is called {name!r}; aiida-mlfc reference list', param_hint='NAMES')
    chosen = [node for node in known if not names or any(_is_called(node, name) for name in names)]
    formulas = [re.sub('[^A-Za-z0-9]', '', reduced_formula(node.get_unitcell().get_ase())) for node in chosen]
    return {f'{formula[:40]}_{node.uuid[:8]}': node for formula, node in zip(formulas, chosen, strict=True)}


def _is_called(node: Any, name: str) -> bool:
    return node.label == name or node.uuid.startswith(name)


def compare_with_potential(names: Sequence[str], **arguments: Any) -> Any:
    """Run ``mlfc.comparison`` in this process.

    :param arguments: of the command.
    :return: node of the work chain.
    """
    from aiida.engine import run_get_node
    from aiida.manage.caching import enable_caching

    from aiida_mlfc.workchains.comparison import ComparisonWorkChain

    references = chosen_references(names)
    try:
        steps = tuple(float(step) for step in arguments['steps'].split(',') if step.strip())
        builder = ComparisonWorkChain.get_builder_from_protocol(
            load_or_create_code(arguments['code_label']),
            references,
            PotentialData.get_or_create(arguments['potential_name']),
            arguments['protocol'],
            options=job_options(arguments['options_file']),
            relax=arguments['relax'],
            relax_cell=arguments['relax_cell'],
            nac=arguments['nac'],
            steps=steps,
        )
    except (CheckpointError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    builder.max_concurrent = arguments['concurrent']
    click.echo(f'{len(references)} references against {arguments["potential_name"]}', err=True)
    with enable_caching(identifier='aiida.calculations:mlfc.*'):
        _, node = run_get_node(builder)
    if 'summary' not in node.outputs:
        raise click.ClickException(f'{node.process_label}<{node.pk}>: {node.exit_message or node.exception}')
    return node


def print_outcome(node: Any, as_json: bool, output: Path | None) -> bool:
    """Table or JSON, and the page.

    :return: whether every reference was compared.
    """
    summary = node.outputs.summary.get_dict()
    rows = [{**row, 'a': row['name'], 'b': node.inputs.potential.name} for row in summary['rows']]
    if output is not None and 'page' in node.outputs:
        output.write_text(node.outputs.page.get_content(), encoding='utf-8')
    if as_json:
        compared = dict(node.outputs.comparisons) if 'comparisons' in node.outputs else {}
        parts = {key: child.get_dict().get('split') for key, child in compared.items()}
        content = {'work_chain': node.uuid, 'rows': rows, 'split': parts, 'aggregate': summary['aggregate']}
        click.echo(json.dumps(content, indent=2, ensure_ascii=False))
    else:
        print_comparisons(rows)
    return node.is_finished_ok
