"""Backends for the modules whose weights `nlcore.checkpoints` converts.

The parameters' names, and the rules that no argument of a constructor can change, are those of
`nlcore.checkpoints.block_origins`. The code of the packages is not changed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import nn

from nlcore import NonLocalSpec, weight_shapes
from nlcore.checkpoints.block_origins import block_places, named_origin
from nlcore.wrapped_block import Rules
from nlcore_torch.adapters.module_backend import ModuleBackend

#: (spec, by default) -> the module of the spec, or with the defaults of its constructor.
Build = Callable[[NonLocalSpec, bool], nn.Module]


def origin_backends(
    origin: str, name: str, build: Build, form: Rules | None = None, limits: Rules | None = None
) -> tuple[ModuleBackend, ModuleBackend]:
    """A strict backend, and a lax one of the constructor's defaults, for one class of a package.

    The second is for `nlcore-conformance identify`. The spec determines only the sizes and the
    pairwise function, and batch normalization and subsampling if the constructor has arguments for
    them. Its other fields are ignored.

    Parameters
    ----------
    origin : str
        Name of the package in `nlcore.checkpoints.block_origins`.
    name : str
        Name of the backend: the package and the class.
    build : callable
        ``build(spec, by_default)`` returns the module.
    form, limits : mapping, optional
        More rules: for a module with the spec's weights to exist, and for it to compute the spec.
    """
    known = named_origin(origin)

    def exists(spec: NonLocalSpec) -> bool | str:
        broken = (words for words, holds in (form or {}).items() if not holds(spec))
        broken_too = (rule.words for rule in known.form(spec) if not rule.holds)
        return next(broken, next(broken_too, True))

    def computes(spec: NonLocalSpec) -> bool | str:
        broken = (rule.words for rule in known.limits(spec) if not rule.holds)
        broken_too = (words for words, holds in (limits or {}).items() if not holds(spec))
        said = exists(spec)
        return said if said is not True else next(broken, next(broken_too, True))

    def parameters(spec: NonLocalSpec) -> dict[str, str | None]:
        with_biases = replace(spec, bias=True)  # which are 0 if the spec has none
        held = block_places(origin, with_biases)
        return {n: held[n].name if n in held else None for n in weight_shapes(with_biases)}

    strict, lax = (
        ModuleBackend(
            f"{name} by default" if by_default else name,
            lambda spec, by_default=by_default: build(spec, by_default),
            parameters,
            supports=exists if by_default else computes,
            dtypes=("float32", "float64", "float16", "bfloat16"),
        )
        for by_default in (False, True)
    )
    return strict, lax
