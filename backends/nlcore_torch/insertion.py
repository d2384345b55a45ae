"""Non-local blocks in a model that exists already, after modules of it by name.

A block becomes a submodule `non_local` of the module that it follows, called from a forward hook,
or as the last of an nn.Sequential: every name in the model's state dict stays as it was, so its
checkpoints still load.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nlcore.insertion import BlockActivity, assert_zero, left_zero
from nlcore.weights import identity_weights
from nlcore_torch.arrays import array
from nlcore_torch.block import NonLocalBlock

#: The attribute under which a block is found in the module that it follows.
NAME = "non_local"


class InsertedBlock(NonLocalBlock):
    """A non-local block whose host may hand it a batch of nothing, which passes as it is.

    A detector's heads see such a batch where nothing was found.
    """

    def forward(self, x: Tensor) -> Tensor:
        """z (B, C, *positions) from x (B, C, *positions), B may be 0."""
        return x if isinstance(x, Tensor) and x.shape[:1] == (0,) else super().forward(x)


def insert(
    model: nn.Module,
    where: Mapping[str, Mapping[str, Any]],
    *,
    example: Any = None,
    identity: bool = True,
) -> nn.Module:
    """Put a `NonLocalBlock` after each named module, and return the model, which is changed.

    The block computes whenever the module is called: one that the model uses in several places, as
    a ResNet's residual block does its ReLU, is no place for it.

    Parameters
    ----------
    where
        Module name, as in ``model.named_modules()``, -> arguments of the block: fields of
        `nlcore.NonLocalSpec`, and init or momentum. channels and ndim need not be given.
    example
        What the model is called with once, to see the shapes that the modules put out; a tuple is
        its arguments. Without it they are those of the last convolution within the module.
    identity
        Start as the identity, so that the model computes the same, bit for bit.

    Raises
    ------
    ValueError
        A name that the model does not have or that has a block already, two names of one module,
        a list of modules, which nothing calls, or channels that cannot be told.
    TypeError
        A wrong field of the spec; with an example, or else when the model is called, a module that
        does not put out a tensor.

    Examples
    --------
    >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
    >>> list(non_local_blocks(insert(model, {"0": {"pairwise": "dot_product"}})))
    ['0.non_local']
    """
    modules = {name: _module(model, name) for name in where}
    for name, module in modules.items():
        if hasattr(module, NAME):
            raise ValueError(f"{name!r} has an attribute {NAME!r} already; see remove(model)")
        if type(module).forward is nn.Module.forward:
            raise ValueError(
                f"a block must follow a module that is called; received {name!r}, "
                f"a {type(module).__name__}"
            )
        same = [other for other in modules if modules[other] is module]
        if len(same) > 1:
            raise ValueError(f"a module takes one block; received its names {same}")
    seen = _shapes(model, modules, example) if example is not None else {}
    made = {}
    for name, module in modules.items():
        given = {**_size(name, module, seen.get(name), where[name]), **where[name]}
        made[name] = InsertedBlock(identity=identity, **given).train(module.training)
        like = next(module.parameters(), next(model.parameters(), None))
        if like is not None:
            made[name].to(like.device, like.dtype)
    for name, module in modules.items():  # now that nothing can fail
        module.add_module(NAME, made[name])
        if not _calls_its_children(module):
            module.register_forward_hook(_through_block)
    return model


def remove(model: nn.Module) -> nn.Module:
    """Take every inserted block out, and return the model."""
    for module in list(model.modules()):
        hooks = [key for key, hook in module._forward_hooks.items() if hook is _through_block]
        for key in hooks:
            del module._forward_hooks[key]
        if isinstance(module._modules.get(NAME), InsertedBlock):
            delattr(module, NAME)
    return model


def non_local_blocks(model: nn.Module) -> dict[str, NonLocalBlock]:
    """Every non-local block of a model by name: its own, inserted ones, and those of submodules."""
    return {name: m for name, m in model.named_modules() if isinstance(m, NonLocalBlock)}


def assert_identity(model: nn.Module) -> None:
    """Raise AssertionError unless every non-local block is the identity.

    A host's own initialization may undo it: call this after ``model.init_weights()``.
    """
    for name, block in non_local_blocks(model).items():
        assert_zero(name, _zeros(block))


def block_activity(model: nn.Module) -> dict[str, BlockActivity]:
    """Whether each non-local block has a gradient and is no longer the identity, by name."""
    return {
        name: BlockActivity(
            gradient=any(
                p.grad is not None and bool(p.grad.count_nonzero()) for p in block.parameters()
            ),
            left_zero=left_zero(_zeros(block)),
        )
        for name, block in non_local_blocks(model).items()
    }


def _through_block(module: nn.Module, arguments: Any, output: Any) -> Tensor:
    return getattr(module, NAME)(_tensor(type(module).__name__, output))


def _tensor(name: str, output: Any) -> Tensor:
    if not isinstance(output, Tensor):
        raise TypeError(
            f"a block must follow a module that puts out a tensor; {name!r} put out a "
            f"{type(output).__name__}"
        )
    return output


def _calls_its_children(module: nn.Module) -> bool:
    return isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward


def _zeros(block: NonLocalBlock) -> dict[str, np.ndarray]:
    """The weights that are 0 in a block that is the identity."""
    weights = block.state_dict()
    return {name: array(weights[name]) for name in identity_weights(block.spec)}


def _module(model: nn.Module, name: str) -> nn.Module:
    try:
        return model.get_submodule(name)
    except AttributeError:
        near = [n for n, _ in model.named_modules() if n.startswith(name.rpartition(".")[0])]
        raise ValueError(
            f"a block must follow a module of the model; received {name!r}, beside {near[:12]}"
        ) from None


def _size(
    name: str, module: nn.Module, shape: torch.Size | None, given: Mapping[str, Any]
) -> dict[str, int]:
    """channels and ndim of what the module puts out."""
    if "channels" in given and "ndim" in given:
        return {}
    if shape is not None:
        return {"channels": shape[1], "ndim": len(shape) - 2}
    # by class: hosts have their own kinds of these
    convolutions = [m for m in module.modules() if isinstance(m, (nn.Conv1d, nn.Conv2d, nn.Conv3d))]
    if not convolutions:
        raise ValueError(
            f"{name!r} has no convolution to tell its channels from: give channels and ndim, or an "
            f"example; received {dict(given)}"
        )
    last = convolutions[-1]
    return {"channels": last.out_channels, "ndim": len(last.kernel_size)}


@torch.no_grad()
def _shapes(
    model: nn.Module, modules: Mapping[str, nn.Module], example: Any
) -> dict[str, torch.Size]:
    """What the modules put out when the model is called with the example."""
    found: dict[str, torch.Size] = {}

    def look(name: str, output: Any) -> None:
        found[name] = _tensor(name, output).shape

    hooks = [
        module.register_forward_hook(lambda _, __, output, name=name: look(name, output))
        for name, module in modules.items()
    ]
    try:
        with evaluating(model):
            model(*example) if isinstance(example, tuple) else model(example)
    finally:
        for hook in hooks:
            hook.remove()
    return found


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The whole model in evaluation mode, each module in its own mode afterwards."""
    training = [module for module in model.modules() if module.training]
    try:
        model.eval()
        yield
    finally:
        for module in training:
            module.training = True
