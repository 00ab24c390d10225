"""Calcfunctions of mode following: from relaxed distortions to new crystals, and to the tree of all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from aiida.engine import calcfunction
from aiida.orm import Dict, StructureData
from ase import Atoms

from aiida_mlfc.core.phonons.following.growing import Family, Relaxed, grown, rooted
from aiida_mlfc.core.phonons.following.tree import Budget, TreeNode, confirmed, examined, outcome
from aiida_mlfc.core.structures.symmetry import primitive_cell, symmetrized

#: Å, for the symmetry of the crystal as it was given
GIVEN_SYMPREC = 1e-4
#: extra of a crystal: uuid of the one that it is a distortion of. Jobs take a generation at once, so that links alone
#: lead from a child to all crystals of the generation before
EXTRA_PARENT = 'mlfc_parent'


def crystal_key(identifier: int) -> str:
    """The key of a crystal in namespaces: n0 is the root."""
    return f'n{identifier}'


def _structure(atoms: Atoms, label: str) -> StructureData:
    node = StructureData(ase=atoms)
    node.label = label
    return node


def _family(content: Mapping[str, Any], cells: Mapping[int, Atoms]) -> Family:
    return Family(content['zero'], [TreeNode.from_dict(values) for values in content['nodes']], cells)


def _content(family: Family) -> dict[str, Any]:
    return {'zero': family.zero, 'nodes': [node.to_dict() for node in family.nodes]}


def family_after_modes(
    family: Mapping[str, Any], displaced: Mapping[str, Any], budget: Mapping[str, Any]
) -> list[TreeNode]:
    """Crystals once the modes of the newest ones are known; those that are to be followed have the verdict ``open``.

    :param family: content of the node that :func:`root_crystal` or :func:`next_generation` made.
    :param displaced: ``output_parameters`` of ``mlfc.displace``.
    :param budget: fields of :class:`Budget`.
    """
    found = {}
    for key, row in displaced.items():
        failed = row['status'] == 'failed'
        found[int(key[1:])] = {'error': row['error']['message']} if failed else row
    return examined([TreeNode.from_dict(values) for values in family['nodes']], found, Budget(**budget))


@calcfunction
def primitive_structure(structure: StructureData) -> StructureData:
    """The primitive cell, put exactly on its symmetry."""
    atoms = structure.get_ase()
    return _structure(primitive_cell(symmetrized(atoms, GIVEN_SYMPREC), GIVEN_SYMPREC), structure.label)


@calcfunction
def root_crystal(relaxed: StructureData, relax_parameters: Dict) -> dict[str, Any]:
    """The root of the tree.

    :param relax_parameters: ``output_parameters`` of its relaxation.
    """
    family = rooted(relaxed.get_ase(), relax_parameters['n0']['energy'])
    structure = _structure(family.cells[0], relaxed.label)
    content = _content(family)
    content['nodes'][0]['uuid'] = structure.uuid
    return {'family': Dict(content), 'crystals': {'n0': structure}}


@calcfunction
def next_generation(family: Dict, displaced: Dict, budget: Dict, **others: Any) -> dict[str, Any]:
    """The tree with the crystals that the distortions of the newest ones have become.

    :param displaced: ``output_parameters`` of ``mlfc.displace`` for the newest crystals.
    :param budget: fields of :class:`Budget`.
    :param others: ``relax_parameters``, of the relaxation of the distortions, if there were any; the crystals known so
        far, by key; the relaxed distortions, by key and distortion, ``n0_m0d0``.
    :return: ``family``, and ``crystals`` by key, the new ones.
    """
    content, rows = family.get_dict(), displaced.get_dict()
    ends = others.pop('relax_parameters').get_dict() if 'relax_parameters' in others else {}
    cells = {int(key[1:]): node.get_ase() for key, node in others.items() if '_' not in key}
    nodes = family_after_modes(content, rows, budget.get_dict())
    relaxed, too_large = [], {}
    for node in nodes:
        if node.verdict != 'open':
            continue
        row = rows[crystal_key(node.identifier)]
        too_large[node.identifier] = row['too_large']
        for name, via in row['via'].items():
            key = f'{crystal_key(node.identifier)}_{name}'
            end = ends.get(key, {'status': 'failed', 'error': {'message': 'the job left no result'}})
            if end['status'] == 'failed':
                relaxed.append(Relaxed(node.identifier, via, None, error=end['error']['message']))
            else:
                relaxed.append(Relaxed(node.identifier, via, others[key].get_ase(), end['energy']))
    before = len(nodes)
    found = grown(Family(content['zero'], nodes, cells), relaxed, too_large)
    made, new = _content(found), {}
    for node in found.nodes[before:]:
        label = f'{node.formula} {node.spacegroup}'
        new[crystal_key(node.identifier)] = structure = _structure(found.cells[node.identifier], label)
        structure.base.extras.set(EXTRA_PARENT, made['nodes'][node.parent]['uuid'])
        made['nodes'][node.identifier]['uuid'] = structure.uuid
    return {'family': Dict(made), **({'crystals': new} if new else {})}


@calcfunction
def tree(family: Dict, settings: Dict, **others: Dict) -> Dict:
    """The tree with its verdicts.

    :param settings: ``threshold`` in THz.
    :param others: ``confirmation``: ``output_parameters`` of ``mlfc.displace`` on a denser mesh, if that was looked at.
    """
    rows = others['confirmation'].get_dict() if 'confirmation' in others else {}
    nodes = []
    for values in family['nodes']:
        node, row = TreeNode.from_dict(values), rows.get(crystal_key(values['identifier']))
        if row is not None and row['status'] == 'failed':
            node = replace(node, verdict='failed', reason=row['error']['message'])
        elif row is not None:
            node = confirmed(node, row['lowest_frequency'], row['lowest_qpoint'], settings['threshold'])
        elif node.verdict == 'stable' and rows:
            node = replace(node, verdict='failed', reason='the denser mesh could not be computed')
        nodes.append(node)
    return Dict({'nodes': [node.to_dict() for node in nodes], 'outcome': outcome(nodes)})
