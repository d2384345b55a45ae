"""The non-local blocks of any Keras model: where they are, and their share of its cost."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from math import prod
from typing import Any

import keras
from keras import layers

from nlcore import NonLocalSpec, block_cost
from nlcore.video.placed_blocks import Placed, PlacementReport, placed
from nlcore_keras.block import NonLocalBlock
from nlcore_keras.insertion import is_graph, non_local_blocks
from nlcore_keras.operation.arguments import check_tensor

_Paths = list[tuple[str, Any]]  # of layers

#: Classes of layers that have weights and multiply no matrices; not every Keras 3 has all.
#: BatchNorm is of `nlcore_keras.video`.
_ELEMENTWISE = frozenset(
    "BatchNorm BatchNormalization Embedding GroupNormalization LayerNormalization Normalization "
    "PReLU RMSNormalization".split()
)
#: The products of these and of the layers within them are left out.
_LEFT_OUT = (
    *(layers.RNN, layers.Bidirectional, layers.Wrapper, layers.Lambda),
    *(layers.Attention, layers.AdditiveAttention, layers.GroupQueryAttention, layers.Dot),
)
#: The layers within these are not gone through.
_WHOLE = (*_LEFT_OUT, layers.MultiHeadAttention)
#: Operations of keras.ops in a functional model whose products are left out, by class.
_PRODUCTS = frozenset(
    "Matmul Einsum Dot Tensordot Inner Outer Vdot Vecdot Conv ConvTranspose DepthwiseConv "
    "SeparableConv DotProductAttention".split()
)


def placement_report(model: keras.Model, *example_or_shape: Any) -> PlacementReport:
    """The non-local blocks of a model and their costs for one call.

    Nothing is computed: the costs are those of shapes.

    Parameters
    ----------
    model
        A model that contains non-local blocks, inserted ones or its own: functional, sequential, or
        a built subclass of keras.Model.
    *example_or_shape
        One tensor, array or shape for each input, with the axis of the batch. The default is the
        shapes of the model's inputs with a batch of one. The costs are those of the whole batch.

    Returns
    -------
    PlacementReport
        Its multiply-adds are the blocks' by their definition, see
        `nlcore.video.placed_blocks.Placed`, and of the rest those of convolutions (also transposed,
        depthwise and separable), Dense, EinsumDense and MultiHeadAttention. Shapes of blocks are
        (B, C, *positions) for both data formats. `kept` is None, because the engine decides.

    Raises
    ------
    TypeError, ValueError
        An x that does not fit a block, or sizes that are not known.

    Warns
    -----
    UserWarning
        Names the layers whose products are left out: other layers that have weights of their own,
        recurrent ones, wrappers, Lambda, other kinds of attention, layers that are not Keras' own
        (whose sublayers are counted), and matrix products of keras.ops.

    Examples
    --------
    >>> from nlcore.video import NetworkSpec
    >>> from nlcore_keras.video import Network
    >>> network = Network(NetworkSpec().with_blocks(5), data_format="channels_last")
    >>> report = placement_report(network, (1, 32, 224, 224, 3))
    >>> report.blocks[0].name, report.blocks[0].shape
    ('res3_1_non_local', (1, 512, 4, 28, 28))
    """
    found = non_local_blocks(model)
    count = _Count(found)
    count.operation("", model, *_inputs(model, example_or_shape))
    if count.left_out:
        named = ", ".join(f"{path!r} ({kind})" for path, kind in count.left_out.items())
        warnings.warn(f"multiply_adds leaves out the own products of {named}", stacklevel=2)
    called = {call.name for call in count.calls}
    idle = [
        Placed(name, (), _parameters(block), 0, 0, 0)
        for name, block in found.items()
        if name not in called
    ]
    products = count.products + sum(call.multiply_adds for call in count.calls)
    return PlacementReport((*count.calls, *idle), _parameters(model), products)


def execution(spec: NonLocalSpec, positions: tuple[int, ...]) -> block_cost.Execution:
    """Cost of a block with input x (B, C, *positions), as this package executes it.

    The dot product's keys are multiplied first, the concatenation is prefix sums over sorted keys,
    and the Gaussians are as written. `kept` is None: the engine decides what training keeps.

    Raises
    ------
    ValueError
        Positions that are not of the spec's ndim, or smaller than its pooling window.
    """
    return block_cost.execution(spec, positions, lambda *_: "keys")._replace(kept=None)


class _Count:
    """Goes through a model with symbolic tensors, and counts."""

    def __init__(self, blocks: Mapping[str, NonLocalBlock]) -> None:
        self.names = {id(block): name for name, block in blocks.items()}
        self.calls: list[Placed] = []
        self.products = 0  # multiply-adds of all but the blocks
        self.left_out: dict[str, str] = {}  # path -> class

    def operation(self, path: str, operation: Any, *args: Any, **kwargs: Any) -> Any:
        """The symbolic output of an operation: of a model, a layer, or a function of keras.ops."""
        if isinstance(operation, NonLocalBlock):
            return self._block(operation, *args, **kwargs)
        prefix = f"{path}/" if path else ""
        if isinstance(operation, keras.Sequential):
            x = args[0]
            for layer in operation.layers:
                x = self.operation(prefix + layer.name, layer, x)
            return x
        if is_graph(operation):
            return operation._run_through_graph(
                args, lambda inner: partial(self.operation, prefix + inner.name, inner)
            )
        inner = list(_sublayers(operation, prefix, set()))
        if inner:
            output = self._traced(inner, operation, *args, **kwargs)
        else:
            output = operation.compute_output_spec(*args, **kwargs)
        self._add(path or operation.name, operation, (*args, *kwargs.values()), output)
        return output

    def _block(self, block: NonLocalBlock, inputs: Any, training: Any = None) -> Any:
        """Notes a call of a block, which passes its input through."""
        assert block.spec is not None
        check_tensor(block.spec, inputs, block.data_format)
        shape, name = tuple(inputs.shape), self.names[id(block)]
        if block.data_format == "channels_last":
            shape = (shape[0], shape[-1], *shape[1:-1])
        itemsize = {"float64": 8, "float32": 4}.get(block.compute_dtype, 2)
        call = placed(name, block.spec, _known(name, shape), itemsize, execution)
        again = any(other.name == name for other in self.calls)
        self.calls.append(replace(call, parameters=0) if again else call)
        return inputs

    def _traced(self, inner: _Paths, layer: Any, *args: Any, **kwargs: Any) -> Any:
        """The symbolic output of a layer, for which the engine calls the layers in it."""
        products, calls = self.products, len(self.calls)

        def call(*args: Any, **kwargs: Any) -> Any:
            self.products = products  # the PyTorch engine may try a second time
            del self.calls[calls:]
            return layer(*args, **kwargs)

        with self._counted(inner):
            return _Traced(call).compute_output_spec(*args, **kwargs)

    @contextmanager
    def _counted(self, inner: _Paths) -> Iterator[None]:
        """Calls of these layers are counted, and blocks among them pass their input through."""

        def call(path: str, layer: Any, own: Any, *args: Any, **kwargs: Any) -> Any:
            if isinstance(layer, NonLocalBlock):
                return self._block(layer, *args, **kwargs)
            output = own(*args, **kwargs)
            self._add(path, layer, (*args, *kwargs.values()), output)
            return output

        before = [layer.__dict__.get("call") for _, layer in inner]  # if replaced before
        try:
            for path, layer in inner:
                layer.__dict__["call"] = partial(call, path, layer, layer.call)
            yield
        finally:
            for (_, layer), own in zip(inner, before, strict=True):
                layer.__dict__.pop("call", None)
                if own is not None:
                    layer.__dict__["call"] = own

    def _add(self, path: str, operation: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Adds the products of a layer or function, but not those of layers in it."""
        products = _products(path, operation, inputs, output)
        if products is None:
            self.left_out[path] = type(operation).__name__
        else:
            self.products += products


class _Traced(keras.Operation):
    """A function whose output Keras infers, by the engine's own symbolic tensors."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.call = function


def _products(path: str, layer: Any, inputs: tuple[Any, ...], output: Any) -> int | None:
    """Multiply-adds of a call but for those of layers in it, or None where they are not known."""
    if isinstance(layer, (layers.Conv1D, layers.Conv2D, layers.Conv3D, layers.Dense)):
        return _size(path, output) * prod(layer.kernel.shape[:-1])
    if isinstance(layer, (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)):
        return _size(path, inputs[0]) * prod(layer.kernel.shape[:-1])
    if isinstance(layer, (layers.DepthwiseConv1D, layers.DepthwiseConv2D)):
        return _size(path, output) * prod(layer.kernel_size)
    if isinstance(layer, (layers.SeparableConv1D, layers.SeparableConv2D)):
        *_, channels, filters = layer.pointwise_kernel.shape
        size = _size(path, output)
        return size // filters * prod(layer.depthwise_kernel.shape) + size * channels
    if isinstance(layer, layers.EinsumDense):
        rows, kernel, _ = layer.equation.replace("->", ",").split(",")
        sizes = zip(kernel, layer.kernel.shape, strict=True)
        return _size(path, inputs[0]) * prod(size for label, size in sizes if label not in rows)
    if isinstance(layer, layers.MultiHeadAttention):
        return _attention_products(path, layer, *inputs[:2])
    kind, package = type(layer).__name__, type(layer).__module__.partition(".")[0]
    if not isinstance(layer, keras.Layer):
        return None if kind in _PRODUCTS else 0
    if package not in ("keras", "nlcore_keras") or isinstance(layer, _LEFT_OUT):
        return None
    return 0 if kind in _ELEMENTWISE or not layer._trainable_variables else None


def _attention_products(path: str, layer: Any, query: Any, value: Any) -> int | None:
    """Of MultiHeadAttention on (B, N, E) and (B, M, E'), as `_products`."""
    if len(query.shape) != 3:
        return None
    batch, n, m = _known(path, (*query.shape[:2], value.shape[1]))
    by_query, by_key = (
        sum(prod(dense.kernel.shape) for dense in denses)
        for denses in (
            (layer.query_dense, layer.output_dense),
            (layer.key_dense, layer.value_dense),
        )
    )
    pairs = n * m * layer.num_heads * (layer.key_dim + layer.value_dim)
    return batch * (n * by_query + m * by_key + pairs)


def _inputs(model: Any, given: tuple[Any, ...]) -> list[Any]:
    """Symbolic inputs of the given shapes, or of the model's own."""
    known = model.inputs if is_graph(model) and hasattr(model, "inputs") else None
    shapes = [tuple(getattr(value, "shape", value)) for value in given]
    if known is not None and not shapes:
        shapes = [(1 if x.shape[0] is None else x.shape[0], *x.shape[1:]) for x in known]
    wanted = "one for each input" if known is None else [tuple(x.shape) for x in known]
    if not shapes or (known is not None and list(map(len, shapes)) != list(map(len, wanted))):
        raise ValueError(f"shapes must be {wanted}, with the batch's axis; received {shapes}")
    dtypes = [x.dtype for x in known] if known else [model.input_dtype] * len(shapes)
    return [
        keras.KerasTensor(_known("the input", shape), dtype)
        for shape, dtype in zip(shapes, dtypes, strict=True)
    ]


def _sublayers(layer: Any, prefix: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """The layers in a layer by path, where the products of those are counted."""
    if not isinstance(layer, keras.Layer) or isinstance(layer, _WHOLE):
        return
    for inner in layer._flatten_layers(include_self=False, recursive=False):
        if id(inner) not in seen:
            seen.add(id(inner))
            if not is_graph(inner):
                yield prefix + inner.name, inner
            yield from _sublayers(inner, f"{prefix}{inner.name}/", seen)


def _parameters(layer: keras.Layer) -> int:
    """Entries of the weights that have gradients, frozen or not."""
    found = {id(v): v for part in layer._flatten_layers() for v in part._trainable_variables}
    return sum(prod(variable.shape) for variable in found.values())


def _size(path: str, tensor: Any) -> int:
    return prod(_known(path, tuple(tensor.shape)))


def _known(path: str, shape: tuple[Any, ...]) -> tuple[int, ...]:
    if None in shape:
        raise ValueError(
            f"sizes must be known: give an example, or a shape, of each input; {path!r} has {shape}"
        )
    return shape
