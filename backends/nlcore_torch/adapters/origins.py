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
from nlcore.wrapped_block import Parameters, Rules
from nlcore_torch.adapters.module_backend import ModuleBackend

#: (spec, by default) -> the module of the spec, or with the defaults of its constructor.
Build = Callable[[NonLocalSpec, bool], nn.Module]


def origin_backends(
    origin: str,
    name: str,
    build: Build,
    form: Rules | None = None,
    limits: Rules | None = None,
    init: str | None = None,
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
    init : str, optional
        See `ModuleBackend`.
    """
    known = named_origin(origin)

    def supports(spec: NonLocalSpec, by_default: bool) -> bool | str:
        rules = {words: holds(spec) for words, holds in (form or {}).items()}
        rules |= {rule.words: rule.holds for rule in known.form(spec)}
        if not by_default:
            rules |= {rule.words: rule.holds for rule in known.limits(spec)}
            rules |= {words: holds(spec) for words, holds in (limits or {}).items()}
        return next((words for words, holds in rules.items() if not holds), True)

    def parameters(spec: NonLocalSpec) -> Parameters:
        with_biases = replace(spec, bias=True)  # which are 0 if the spec has none
        held = block_places(origin, with_biases)
        return {n: held[n].name if n in held else None for n in weight_shapes(with_biases)}

    def backend(by_default: bool) -> ModuleBackend:
        return ModuleBackend(
            f"{name} by default" if by_default else name,
            lambda spec: build(spec, by_default),
            parameters,
            supports=lambda spec: supports(spec, by_default),
            dtypes=("float32", "float64", "float16", "bfloat16"),
            init=init,
        )

    return backend(False), backend(True)
