"""Verdicts on crystals and on a search."""

import pytest

from aiida_mlfc.core.phonons.following.tree import Budget, TreeNode, confirmed, examined, judged, outcome


def node(identifier, parent, energy, verdict='open', generation=1, **values):
    return TreeNode(identifier, parent, generation, 'X', 'P1 (1)', 1, energy, 10.0, verdict=verdict, **values)


def test_stable_means_the_lowest_of_all_is_stable():
    nodes = [node(0, None, 0.0, 'unstable', 0), node(1, 0, -5.0, 'stable'), node(2, 0, -7.0, 'budget')]
    assert outcome(nodes) == {'state': 'budget', 'lowest': 2, 'stable': 1, 'n_crystals': 3}
    nodes[2] = node(2, 0, -3.0, 'budget')
    assert outcome(nodes)['state'] == 'stable'
    nodes[1] = node(1, 0, -5.0, 'failed')
    assert outcome(nodes)['state'] == 'failed'


def test_budget():
    modes = [{'qpoint': [0.5, 0, 0], 'frequency': -1.0, 'degeneracy': 1}]
    nodes = [node(0, None, 0.0, 'unstable', 0), *(node(k, 0, -float(k)) for k in (1, 2, 3)), node(4, 0, -0.5)]
    found = {k: {'modes': modes, 'lowest_frequency': -1.0} for k in (1, 2)}
    found |= {3: {'modes': [], 'lowest_frequency': 0.1}, 4: {'error': 'too short a bond'}}
    seen = examined(nodes, found, Budget(generations=2, children=1))
    # the lower one of two is followed; the lowest needs not be
    assert [n.verdict for n in seen] == ['unstable', 'budget', 'open', 'stable', 'failed']
    assert 'lie lower' in seen[1].reason
    assert 'too short' in seen[4].reason
    last = examined(nodes, found, Budget(generations=1, children=1))
    assert [n.verdict for n in last[1:3]] == ['budget', 'budget']
    assert 'last' in last[1].reason
    with pytest.raises(ValueError, match='wanted at least'):
        Budget(children=0)


def test_confirmed():
    stable = node(1, 0, -1.0, 'stable')
    assert confirmed(stable, -0.04, (0, 0, 0), 0.05).verdict == 'stable'
    found = confirmed(stable, -0.4, (0.25, 0, 0), 0.05)
    assert found.verdict == 'elsewhere'
    assert '0.250' in found.reason


def test_judged():
    parent = node(0, None, 0.0, generation=0)
    assert judged(parent, [node(1, 0, -1.0)], 0).verdict == 'unstable'
    assert judged(parent, [], 2).verdict == 'budget'
    assert judged(parent, [], 0).verdict == 'dead end'
    known = node(0, None, 0.0, generation=0, dropped=[{'key': 'm0d0', 'reason': 'is crystal 3', 'crystal': 3}])
    assert judged(known, [], 0).verdict == 'unstable'
    assert judged(node(0, None, 0.0, dropped=[{'key': 'm0d0', 'crystal': None}]), [], 0).verdict == 'dead end'


def test_modes_that_were_not_tried_are_no_dead_end():
    """Some modes need larger supercells, and what fitted fell back: nobody knows what the others lead to."""
    tried = node(0, None, 0.0, dropped=[{'key': 'm0d0', 'reason': 'fell back to its parent', 'crystal': None}])
    found = judged(tried, [], 2)
    assert (found.verdict, found.reason) == ('budget', '2 modes need larger supercells')
    assert judged(tried, [node(1, 0, -1.0)], 2).verdict == 'unstable'


def test_relaxations_that_failed_are_no_dead_end():
    failed = {'key': 'm0d0', 'reason': 'not relaxed: ran away', 'crystal': None, 'failed': True}
    back = {'key': 'm0d1', 'reason': 'fell back to its parent', 'crystal': None, 'failed': False}
    found = judged(node(0, None, 0.0, dropped=[failed, failed]), [], 0)
    assert found.verdict == 'failed'
    assert 'ran away' in found.reason
    mixed = judged(node(0, None, 0.0, dropped=[failed, back]), [], 0)
    assert (mixed.verdict, mixed.reason) == ('dead end', 'no distortion became another crystal; 1 of 2 failed')


def test_back_from_plain_values():
    one = node(2, 1, -2.0)
    assert TreeNode.from_dict({**one.to_dict(), 'colour': 'x'}) == one
