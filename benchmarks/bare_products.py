"""The convolutions and matrix products of a call, and nothing else of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

Call = Callable[[], object]
#: Operators of torch that are counted, besides fused attention.
PRODUCTS = ("convolution", "convolution_backward", "mm", "addmm", "bmm", "baddbmm")
ATTENTION = "_scaled_dot_product_flash_attention_for_cpu"


def bare_products(call: Call) -> Call:
    """A call of the convolutions and matrix products that `call` consists of.

    Operands have the same shapes and memory formats. They are random and made once. The products of
    fused attention are theta phi^T and f g, into an array that is made once. There is nothing else:
    no normalization, ReLU, pooling, softmax, residual, copy or update.
    """
    recorder = _Recorder()
    with recorder:
        call()
    products = recorder.products

    def replay() -> object:
        with torch.no_grad():
            for function, arguments, options in products:
                function(*arguments, **options)
        return None

    return replay


class _Recorder(TorchDispatchMode):
    """Records the products of a call, with operands that stand for the true ones."""

    def __init__(self) -> None:
        super().__init__()
        self.products: list[tuple[Callable[..., object], tuple[Any, ...], dict[str, Any]]] = []
        self._operands: dict[tuple[Any, ...], Tensor] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        if name in PRODUCTS:
            self.products.append((func, *tree_map(self._operand, (args, kwargs))))
        elif name == ATTENTION:
            theta, phi, g = tree_map(self._operand, args[:3])  # (B, 1, N or M, D)
            pairs = self._operand(theta.new_empty(*theta.shape[:-1], phi.shape[-2]))  # (B, 1, N, M)
            self.products.append((torch.matmul, (theta, phi.mT), {"out": pairs}))
            self.products.append((torch.matmul, (pairs, g), {}))
        elif "attention" in name:
            raise NotImplementedError(f"the products of {name} are not known")
        return func(*args, **kwargs)

    def _operand(self, value: Any) -> Any:
        """A random tensor of the same shape and strides, the same one for all alike."""
        if not isinstance(value, Tensor):
            return value
        key = (tuple(value.shape), value.stride(), value.dtype)
        if key not in self._operands:
            sizes = zip(value.shape, value.stride(), strict=True)
            elements = 1 + sum((n - 1) * stride for n, stride in sizes)  # of which some may overlap
            made = torch.randn(elements, dtype=value.dtype)
            self._operands[key] = made.as_strided(value.shape, value.stride())
        return self._operands[key]
