"""Swish and gate differentiated by hand, against autograd through the formula, up to third derivatives."""

import pytest
import torch
from torch.autograd import grad, gradcheck, gradgradcheck

from aiida_mlfc.core.potentials.mattersim.activations import gate, once, silu
from aiida_mlfc.core.potentials.mattersim.stacked import Stacked

N, UNITS, N_RADIAL = 5, 3, 2


def random(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def formula(a, b, radial=None, weight=None, swish=False):
    product = a * torch.sigmoid(a) * torch.sigmoid(b)
    if radial is None:
        return product
    z = radial @ weight.T
    return product * (z * torch.sigmoid(z) if swish else z)


CASES = {
    'silu': (silu, lambda x: x * torch.sigmoid(x), 1),
    'gate': (gate, formula, 2),
    'weighted': (lambda *x: gate(*x, WEIGHT), lambda *x: formula(*x, WEIGHT), 3),
    'weighted by swish': (lambda *x: gate(*x, WEIGHT, True), lambda *x: formula(*x, WEIGHT, True), 3),
}
WEIGHT = torch.randn(UNITS, N_RADIAL, dtype=torch.float64, generator=torch.manual_seed(1))


@pytest.fixture(params=CASES)
def case(request):
    """The function, the same written out, and arguments that require a gradient."""
    torch.manual_seed(0)
    function, written_out, n_arguments = CASES[request.param]
    arguments = [2 * random(N, UNITS), 2 * random(N, UNITS), random(N, N_RADIAL)][:n_arguments]
    return function, written_out, [x.requires_grad_(True) for x in arguments]


def orders(function, arguments, seeds):
    """Value, and gradients of the first to third order along ``seeds``."""
    value = function(*arguments)
    found = [value]
    for seed in seeds:
        gradients = grad((value * seed[0]).sum(), arguments, create_graph=True)
        found += gradients
        value = sum((g * s).sum() for g, s in zip(gradients, seed[1], strict=True))
    return found


def test_three_orders(case):
    function, written_out, arguments = case
    seeds = [(random(N, UNITS) if k == 0 else 1.0, [random(*x.shape) for x in arguments]) for k in range(3)]
    found, expected = (orders(f, arguments, seeds) for f in (function, written_out))
    assert len(found) == 1 + 3 * len(arguments)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_against_differences(case):
    function, _, arguments = case
    assert gradcheck(function, arguments)
    assert gradgradcheck(function, arguments)


def test_passes_in_any_order(case):
    """A gradient without a graph, one with, rows again and again: what a node keeps changes no number."""
    function, written_out, arguments = case
    seed, fields = random(N, UNITS), [random(*x.shape) for x in arguments]

    def passes(f):
        value = f(*arguments)
        plain = grad(value, arguments, seed, retain_graph=True)
        gradients = grad(value, arguments, seed, create_graph=True)
        rows = [grad(gradients, arguments, fields, retain_graph=True) for _ in range(2)]
        last = grad(value, arguments, 2 * seed, retain_graph=True)
        return *plain, *gradients, *rows[0], *rows[1], *last

    for a, b in zip(passes(function), passes(written_out), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_some_cotangents_only(case):
    function, written_out, arguments = case
    for k, chosen in enumerate(arguments):

        def row(f, k=k, chosen=chosen):
            gradient = grad(f(*arguments).square().sum(), arguments, create_graph=True)[k]
            return grad(gradient.square().sum(), chosen)[0]

        torch.testing.assert_close(row(function), row(written_out), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize('create_graph', [False, True])
def test_second_backward_through_vmap(case, create_graph):
    """As the q-space engine does it: rows of a batch are the rows one by one, and differentiable once more."""
    function, _, arguments = case
    gradient = grad(function(*arguments).square().sum(), arguments[0], create_graph=True)[0]
    fields = random(4, *gradient.shape)

    def row(field):
        return grad(gradient, arguments[0], field, retain_graph=True, create_graph=create_graph)[0]

    batch = torch.vmap(row)(fields)
    one_by_one = torch.stack([row(field) for field in fields])
    torch.testing.assert_close(batch, one_by_one, rtol=1e-12, atol=1e-12)
    if create_graph:
        third = [grad(rows.square().sum(), arguments, retain_graph=True) for rows in (batch, one_by_one)]
        for a, b in zip(*third, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_transforms_of_torch(case):
    function, written_out, arguments = case
    arguments = [x.detach() for x in arguments]
    found, expected = (
        torch.func.hessian(lambda *x, f=f: f(*x).square().sum(), argnums=tuple(range(len(arguments))))(*arguments)
        for f in (function, written_out)
    )
    for a, b in zip(sum(found, ()), sum(expected, ()), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_once_leaves_it_to_autograd_and_ends(case):
    function, written_out, arguments = case
    with once():
        value = function(*arguments)
    for a, b in zip(
        grad(value, arguments, torch.ones_like(value)),
        grad(written_out(*arguments), arguments, torch.ones_like(value)), strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    assert 'Swish' not in type(value.grad_fn).__name__
    assert 'Gate' not in type(value.grad_fn).__name__
    with pytest.raises(KeyError), once():
        raise KeyError
    assert type(function(*arguments).grad_fn).__name__ in ('SwishBackward', 'GateBackward')


def test_weights_that_learn():
    torch.manual_seed(0)
    a, b, radial = random(N, UNITS), random(N, UNITS), random(N, N_RADIAL)
    weight = WEIGHT.clone().requires_grad_(True)
    found, expected = (grad(f(a, b, radial, weight, True).square().sum(), weight)[0] for f in (gate, formula))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_stacked_weights_follow_their_sources():
    stacked, sources = Stacked(), [torch.ones(2, 3), torch.zeros(1, 3)]
    first = stacked(*sources)
    assert stacked(*sources) is first
    with torch.no_grad():
        sources[1] += 2
    assert stacked(*sources)[2].tolist() == [2, 2, 2]
    sources[0] = torch.full((2, 3), 5.0)
    assert stacked(*sources)[0].tolist() == [5, 5, 5]
    assert stacked(*(s.double() for s in sources)).dtype == torch.float64
    learning = [s.clone().requires_grad_(True) for s in sources]
    stacked(*learning).sum().backward()
    assert all(torch.equal(s.grad, torch.ones_like(s)) for s in learning)
