"""Insertion of non-local blocks into an existing model, after or before modules given by name.

A block becomes the submodule `non_local` of the named module, and a hook calls it. If the module is
an nn.Sequential, the block becomes its last or its first module. The names in the state dict of the
model do not change, so its checkpoints still load.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from nlcore import check_input
from nlcore.block_activity import BlockActivity, assert_zero, left_zero
from nlcore.weights import identity_weights
from nlcore_torch.block import NonLocalBlock
from nlcore_torch.modes import evaluating

#: Name of a block as a submodule of the module that it follows or precedes.
NAME = "non_local"


class InsertedBlock(NonLocalBlock):
    """A non-local block that `insert` added, so that `remove` may take it out."""


def insert(
    model: nn.Module,
    where: Mapping[str, Mapping[str, Any]],
    *,
    example: Any = None,
    identity: bool = True,
    before: bool = False,
) -> nn.Module:
    """Insert a `NonLocalBlock` after each named module of the model, or before it, in place.

    The block is called whenever its module is called. So do not insert a block after a module that
    the model uses in several places, such as the ReLU of a ResNet's residual block.

    Parameters
    ----------
    model : nn.Module
    where : mapping of str to mapping
        Module name, as in ``model.named_modules()`` -> arguments of the block. These are fields of
        `nlcore.NonLocalSpec`, init and momentum. channels and ndim are optional.
    example : optional
        An argument, or a tuple of arguments, with which the model is called once. channels and ndim
        are then those of the modules' outputs, and every output must fit the block. Without an
        example, they are those of the last convolution inside the module. With `before`, inputs
        take the place of outputs, and the first convolution that of the last.
    identity : bool
        Whether the new blocks are the identity, so that the output of the model does not change,
        bit for bit.
    before : bool
        Whether each block is before its module: it computes the first argument of the module.

    Returns
    -------
    nn.Module
        The same model.

    Raises
    ------
    ValueError
        The model has no module of this name, or the module has a block already. Two names are those
        of one module. The module is a list of modules, which is never called. The channels cannot
        be determined, or are not the same in every call with the example.
    TypeError
        A field of the spec is wrong, or the output of a module is not a tensor. Without an example,
        the latter is found only when the model is called.

    Examples
    --------
    >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
    >>> list(non_local_blocks(insert(model, {"0": {"pairwise": "dot_product"}})))
    ['0.non_local']
    """
    modules = {name: _module(model, name) for name in where}
    for name, module in modules.items():
        if getattr(module, NAME, None) is not None:
            raise ValueError(
                f"module {name!r} must have no attribute {NAME!r}; remove(model) removes blocks"
            )
        if type(module).forward is nn.Module.forward:
            wrong = f"received {name!r}, a {type(module).__name__}"
            raise ValueError(f"a block must follow a module that is called; {wrong}")
        if len(same := [other for other in modules if modules[other] is module]) > 1:
            raise ValueError(
                f"a module must have one block; received several names of one module: {same}"
            )
    seen = _shapes(model, modules, example, before) if example is not None else {}
    made = {}
    for name, module in modules.items():
        shapes = seen.get(name, [])
        if example is not None and not shapes:
            raise ValueError(f"model must call {name!r} for the example; it did not call it")
        given = {**_size(name, module, shapes, where[name], before), **where[name]}
        made[name] = InsertedBlock(identity=identity, **given).train(module.training)
        for shape in shapes:
            check_input(made[name].spec, shape, "float32")
        floats = (p for m in (module, model) for p in m.parameters() if p.is_floating_point())
        if (like := next(floats, None)) is not None:
            made[name].to(like.device, like.dtype)
    for name, module in modules.items():  # the model is changed only after all checks
        module.add_module(NAME, made[name])
        if _calls_its_children(module):
            if before:
                for other in [n for n in module._modules if n != NAME]:  # to behind the block
                    module._modules[other] = module._modules.pop(other)
        elif before:
            module.register_forward_pre_hook(_before_module)
        else:
            module.register_forward_hook(_through_block)
    return model


def remove(model: nn.Module) -> nn.Module:
    """Remove all inserted blocks from the model, in place, and return the model.

    Examples
    --------
    >>> from torch import nn
    >>> model = insert(nn.Sequential(nn.Conv2d(3, 8, 1)), {"0": {}})
    >>> list(non_local_blocks(remove(model)))
    []
    """
    for module in list(model.modules()):
        for hooks in (module._forward_hooks, module._forward_pre_hooks):
            for key in [k for k, hook in hooks.items() if hook in (_through_block, _before_module)]:
                del hooks[key]
        if isinstance(module._modules.get(NAME), InsertedBlock):
            delattr(module, NAME)
    return model


def non_local_blocks(model: nn.Module) -> dict[str, NonLocalBlock]:
    """All non-local blocks of a model by name, both inserted ones and the model's own.

    Examples
    --------
    >>> from torch import nn
    >>> model = insert(nn.Sequential(nn.Conv2d(3, 8, 1)), {"0": {}})
    >>> list(non_local_blocks(model))
    ['0.non_local']
    """
    return {name: m for name, m in model.named_modules() if isinstance(m, NonLocalBlock)}


def assert_identity(model: nn.Module) -> None:
    """Raise AssertionError unless every non-local block is the identity.

    Call this after ``model.init_weights()``, because the model's own initialization can change the
    weights of inserted blocks.

    Raises
    ------
    ValueError
        The model has no non-local block.

    Examples
    --------
    >>> from torch import nn
    >>> model = insert(nn.Sequential(nn.Conv2d(3, 8, 1)), {"0": {}})
    >>> assert_identity(model)
    >>> _ = nn.init.ones_(model[0].non_local.bn.weight)
    >>> assert_identity(model)
    Traceback (most recent call last):
        ...
    AssertionError: the block '0.non_local' is not the identity: expected bn.weight to be 0; ...
    """
    blocks = non_local_blocks(model)
    if not blocks:
        raise ValueError(
            f"model must contain a non-local block; received {type(model).__name__} without"
        )
    for name, block in blocks.items():
        assert_zero(name, _zeros(block))


def block_activity(model: nn.Module) -> dict[str, BlockActivity]:
    """Whether each non-local block, by name, has a gradient and is no longer the identity.

    Examples
    --------
    >>> from torch import nn
    >>> model = insert(nn.Sequential(nn.Conv2d(3, 8, 1)), {"0": {}})
    >>> model(torch.randn(2, 3, 4, 4)).sum().backward()
    >>> block_activity(model)["0.non_local"]
    BlockActivity(gradient=True, left_zero=False)
    """
    return {
        name: BlockActivity(
            gradient=any(
                p.grad is not None and bool(p.grad.count_nonzero()) for p in block.parameters()
            ),
            left_zero=left_zero(_zeros(block)),
        )
        for name, block in non_local_blocks(model).items()
    }


def _through_block(module: nn.Module, arguments: Any, output: Any) -> Any:
    return getattr(module, NAME)(_tensor(type(module).__name__, output))


def _before_module(module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    (x, *others) = arguments or (None,)
    return getattr(module, NAME)(_tensor(type(module).__name__, x, before=True)), *others


def _tensor(name: str, output: Any, before: bool = False) -> Any:
    if not isinstance(output, (Tensor, fx.Proxy)):
        raise TypeError(
            f"a block must {'precede' if before else 'follow'} a module that "
            f"{'takes' if before else 'returns'} a tensor; received {name!r}, which "
            f"{'took' if before else 'returned'} a {type(output).__name__}"
        )
    return output


def _calls_its_children(module: nn.Module) -> bool:
    """Whether the module calls its submodules in order, so that a new last one is called too."""
    return isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward


def _zeros(block: NonLocalBlock) -> dict[str, np.ndarray]:
    """The block's `nlcore.weights.identity_weights` as arrays."""
    weights = block.export_weights()
    return {name: weights[name] for name in identity_weights(block.spec)}


def _module(model: nn.Module, name: str) -> nn.Module:
    try:
        return model.get_submodule(name)
    except AttributeError:
        near = [n for n, _ in model.named_modules() if n.startswith(name.rpartition(".")[0])][:12]
        said = f"a block must follow a module of the model, such as {near}; received {name!r}"
        raise ValueError(said) from None


def _size(
    name: str, module: nn.Module, shapes: Sequence[torch.Size], given: Mapping[str, Any],
    before: bool,
) -> dict[str, int]:  # fmt: skip
    """channels and ndim of the module's output, or of its input."""
    if "channels" in given and "ndim" in given:
        return {}
    # isinstance, because models have their own subclasses of convolutions
    convolutions = [m for m in module.modules() if isinstance(m, (nn.Conv1d, nn.Conv2d, nn.Conv3d))]
    side = "in_features" if before else "out_features"
    widths = {getattr(m, side) for m in module.modules() if isinstance(m, nn.Linear)}
    if shapes:
        if len({(shape[1], len(shape)) for shape in shapes}) > 1:
            raise ValueError(
                f"a module must have one number of channels in every call; received {name!r}, "
                f"called with {[tuple(shape) for shape in shapes]}"
            )
        if not convolutions and shapes[0][-1] in widths and shapes[0][1] not in widths:
            raise ValueError(
                f"a block takes (B, channels, positions); the last axis of {tuple(shapes[0])} at "
                f"{name!r} seems to be the channels. Transpose it in a module of your own, or pass "
                "channels and ndim if axis 1 has the channels"
            )
        return {"channels": shapes[0][1], "ndim": len(shapes[0]) - 2}
    if not convolutions:
        raise ValueError(
            f"channels and ndim, or an example, must be given for {name!r}, because it contains no "
            f"convolution; received {dict(given)}"
        )
    one = convolutions[0 if before else -1]
    channels = one.in_channels if before else one.out_channels
    return {"channels": channels, "ndim": len(one.kernel_size)}


@torch.no_grad()
def _shapes(
    model: nn.Module, modules: Mapping[str, nn.Module], example: Any, before: bool
) -> dict[str, list[torch.Size]]:
    """The shapes of the modules' outputs, or inputs, in the calls that the example causes."""
    found: dict[str, list[torch.Size]] = {}

    def look(name: str, arguments: tuple[Any, ...], output: Any) -> None:
        x = (*arguments, None)[0] if before else output
        found.setdefault(name, []).append(_tensor(name, x, before).shape)

    hooks = [
        module.register_forward_hook(lambda _, given, out, name=name: look(name, given, out))
        for name, module in modules.items()
    ]
    try:
        with evaluating(model):
            model(*example) if isinstance(example, tuple) else model(example)
    finally:
        for hook in hooks:
            hook.remove()
    return found
