"""The element-wise half of the model, differentiated by hand: swish, and the gate that closes each gated network.

Autograd differentiates a product of activations operation by operation, and the backward pass of swish as six of them;
most of the time of a Hessian row that is not spent on matrices went there. Here a gradient that is to be differentiated
again is taken together with all second derivatives: a row is then a handful of products, and nothing transcendental.
A third derivative is left to autograd, which takes the same formulas operation by operation; so does everything that
runs inside of vmap and its relatives, and whatever the compiler sees.

With s = σ(x), the logistic function, and p(x) = x σ(x), swish:

    p' = s (1 + x (1 - s)),    p'' = s (1 - s) (2 + x - 2 p),    σ' = s (1 - s),    σ'' = σ' (1 - 2 s).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn.functional import linear
from torch.nn.functional import silu as plain_silu

Maybe: TypeAlias = Tensor | None
_ONCE = ContextVar('once', default=False)


@contextmanager
def once() -> Iterator[None]:
    """Within, activations are left to autograd, which is faster where nobody differentiates a second time."""
    token = _ONCE.set(True)
    try:
        yield
    finally:
        _ONCE.reset(token)


def silu(x: Tensor) -> Tensor:
    """p(x)."""
    return plain_silu(x) if _for_autograd() else Swish.apply(x)


def gate(a: Tensor, b: Tensor, radial: Maybe = None, weight: Maybe = None, swish: bool = False) -> Tensor:
    """p(a) σ(b) w, where w is z = radial weightᵀ, or p(z), or one.

    The backward pass keeps what z is made of, which is small, and not z.

    :param a: shape ``(n, units)``.
    :param b: the same.
    :param radial: shape ``(n, n_radial)``; None if w is one.
    :param weight: shape ``(units, n_radial)``.
    :param swish: whether w is p(z).
    """
    learns = weight is not None and weight.requires_grad and torch.is_grad_enabled()
    if not (learns or _for_autograd()):
        return Gate.apply(a, b, radial, None if weight is None else weight.detach(), swish)
    z = None if radial is None or weight is None else radial @ weight.T.contiguous()
    return _product(plain_silu(a), torch.sigmoid(b), _weights(z, swish))


def _for_autograd() -> bool:
    # The compiler first: it looks no further.
    return torch.compiler.is_compiling() or _ONCE.get() or not torch.is_grad_enabled() or _in_transform()


def _in_transform() -> bool:
    """Whether vmap or one of its relatives runs: a Function that keeps what it likes is opaque to them."""
    return bool(torch._C._are_functorch_transforms_active())


def _weights(z: Maybe, swish: bool) -> Maybe:
    return z if z is None or not swish else plain_silu(z)


def _product(first: Maybe, *others: Maybe) -> Tensor:
    """Product of the factors that are there."""
    result = first
    for factor in others:
        if factor is not None:
            result = factor if result is None else result * factor
    assert result is not None
    return result


def _dot(*terms: tuple[Maybe, Maybe]) -> Maybe:
    """Σ u D of the terms of which both factors are there."""
    total: Maybe = None
    for u, factor in terms:
        if u is not None and factor is not None:
            total = u * factor if total is None else torch.addcmul(total, u, factor)
    return total


def _d_swish(y: Tensor, x: Tensor) -> Tensor:
    """y p'(x)."""
    if not torch.is_grad_enabled():
        # one kernel, which autograd cannot differentiate
        return torch.ops.aten.silu_backward(y, x)
    s = torch.sigmoid(x)
    return y * s * (1 + x * (1 - s))


def _dd_swish(y: Tensor, x: Tensor) -> Tensor:
    """y p''(x)."""
    s = torch.sigmoid(x)
    if torch.is_grad_enabled():
        return _d_sigmoid(y * (2 + x - 2 * x * s), s)
    factor = x * s
    return _d_sigmoid(torch.sub(x, factor, alpha=2, out=factor).add_(2).mul_(y), s)


def _d_sigmoid(y: Tensor, s: Tensor) -> Tensor:
    """y σ', given s = σ."""
    return torch.ops.aten.sigmoid_backward(y, s)


class Swish(Function):
    """p(x)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(x)
        ctx.first = None
        return plain_silu(x)

    @staticmethod
    def backward(ctx: Any, y: Tensor) -> Tensor:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        if not torch.is_grad_enabled() and ctx.first is not None:
            return y * ctx.first
        if not torch.is_grad_enabled() or _in_transform():
            return _d_swish(y, x)
        if ctx.first is None:
            with torch.no_grad():
                # for all further backward passes through this node
                ctx.first = _d_swish(x.new_ones(()).expand_as(x), x)
        return SwishGradient.apply(y, x, ctx.first)


class SwishGradient(Function):
    """y p'(x); ``first`` is p'(x)."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, x: Tensor, first: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(y, x, first, _dd_swish(y, x))
        return y * first

    @staticmethod
    def backward(ctx: Any, u: Tensor) -> tuple[Maybe, ...]:  # type: ignore[override]
        y, x, first, second = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _d_swish(u, x), _dd_swish(u * y, x), None
        return u * first, u * second, None


def _first(y: Maybe, a: Tensor, b: Tensor, z: Maybe, swish: bool) -> tuple[Tensor, Tensor, Maybe]:
    """Derivatives of the gate with respect to a, b and z, times y."""
    p, s = plain_silu(a), torch.sigmoid(b)
    of_z = None if z is None else _product(y, p, s)
    if z is not None and swish:
        of_z = _d_swish(_product(of_z), z)
    w = _weights(z, swish)
    return _d_swish(_product(y, s, w), a), _d_sigmoid(_product(y, p, w), s), of_z


def _second(y: Tensor, a: Tensor, b: Tensor, z: Maybe, swish: bool) -> tuple[Maybe, ...]:
    """Its second derivatives aa, ab, bb, az, bz, zz, times y; those that are zero are None."""
    p, s = plain_silu(a), torch.sigmoid(b)
    az = bz = zz = None
    if z is not None:
        az, bz = _d_swish(y * s, a), _d_sigmoid(y * p, s)
        if swish:
            az, bz, zz = _d_swish(az, z), _d_swish(bz, z), _dd_swish(y * p * s, z)
    y = _product(y, _weights(z, swish))
    of_b = _d_sigmoid(y, s)
    of_p = of_b * p
    return _dd_swish(y * s, a), _d_swish(of_b, a), torch.addcmul(of_p, of_p, s, value=-2), az, bz, zz


class Gate(Function):
    """p(a) σ(b) w."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, a: Tensor, b: Tensor, radial: Maybe, weight: Maybe, swish: bool
    ) -> Tensor:
        gated = plain_silu(a).mul_(torch.sigmoid(b))
        ctx.save_for_backward(a, b, radial, gated)
        ctx.weight, ctx.swish, ctx.first = weight, swish, None
        return gated if radial is None else gated * _weights(linear(radial, weight), swish)  # type: ignore[arg-type]

    @staticmethod
    def backward(ctx: Any, y: Tensor) -> tuple[Maybe, ...]:  # type: ignore[override]
        a, b, radial, gated = ctx.saved_tensors
        of_a: Maybe
        of_b: Maybe
        of_z: Maybe
        if ctx.first is not None and not torch.is_grad_enabled():
            of_a, of_b, of_z = (None if factor is None else y * factor for factor in ctx.first)
        else:
            z = None if radial is None else linear(radial, ctx.weight)
            if not torch.is_grad_enabled():
                of_a, of_b, of_z = _gradient(y, a, b, z, ctx.swish, gated)
            elif _in_transform():
                of_a, of_b, of_z = _first(y, a, b, z, ctx.swish)
            else:
                if ctx.first is None:
                    with torch.no_grad():
                        ctx.first = _first(None, a, b, z, ctx.swish)
                of_a, of_b, of_z = GateGradient.apply(y, a, b, z, ctx.swish, *ctx.first)
        # Not of_z @ weight: matrices of four columns are multiplied three times faster in the other layout.
        return of_a, of_b, None if of_z is None else linear(of_z, ctx.weight.T.contiguous()), None, None


def _gradient(
    y: Tensor, a: Tensor, b: Tensor, z: Maybe, swish: bool, gated: Tensor
) -> tuple[Tensor, Tensor, Maybe]:
    """The same as :func:`_first`, with p σ given and nothing to be differentiated."""
    s, of_z = torch.sigmoid(b), None
    if z is not None:
        of_z = y * gated
        y = y * _weights(z, swish)
        of_z = _d_swish(of_z, z) if swish else of_z
    of_p = y * gated
    return _d_swish(y * s, a), torch.addcmul(of_p, of_p, s, value=-1), of_z


class GateGradient(Function):
    """y times the derivatives of the gate with respect to a, b and z, which are the last arguments."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, y: Tensor, a: Tensor, b: Tensor, z: Maybe, swish: bool, of_a: Tensor, of_b: Tensor, of_z: Maybe
    ) -> tuple[Maybe, ...]:
        ctx.save_for_backward(y, a, b, z, of_a, of_b, of_z, *_second(y, a, b, z, swish))
        ctx.swish = swish
        ctx.set_materialize_grads(False)
        return y * of_a, y * of_b, None if of_z is None else y * of_z

    @staticmethod
    def backward(ctx: Any, u_a: Maybe, u_b: Maybe, u_z: Maybe) -> tuple[Maybe, ...]:  # type: ignore[override]
        y, a, b, z, *factors = ctx.saved_tensors
        if torch.is_grad_enabled():
            factors = [*_first(None, a, b, z, ctx.swish), *_second(y, a, b, z, ctx.swish)]
        of_a, of_b, of_z, aa, ab, bb, az, bz, zz = factors
        return (
            _dot((u_a, of_a), (u_b, of_b), (u_z, of_z)),
            _dot((u_a, aa), (u_b, ab), (u_z, az)),
            _dot((u_a, ab), (u_b, bb), (u_z, bz)),
            _dot((u_a, az), (u_b, bz), (u_z, zz)),
            None, None, None, None,
        )  # fmt: skip
