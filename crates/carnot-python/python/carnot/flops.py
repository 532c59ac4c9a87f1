"""The least work of PyTorch's layers, by formula from shapes: operations, where a multiplication and its addition are two, and bytes.

    Linear            2 · outputs · inputs of each, and an addition for each bias
    Conv              2 · outputs · channels of a group · kernel, and the bias
    ConvTranspose     2 · inputs · output channels of a group · kernel, and the bias
    attention         its four projections, and 2 · 2 · queries · keys · width for scores and values
    norms             for each element: 5 (layer, group, instance, batch in training), 3 (RMS) or 2 (batch in use), and 2 or 1 to scale
    Embedding         none; bytes are those of the rows that are read

Any other layer is not counted: its operations are `None`, and its bytes what goes in and out.
"""

from __future__ import annotations

import math
from typing import Any


def parameters(module: Any) -> int:
    """How many numbers a layer has learnt."""
    return sum(parameter.numel() for parameter in module.parameters())


def tensors(values: Any) -> list[Any]:
    """The tensors among arguments or results, however deep in tuples, lists and dictionaries."""
    if hasattr(values, "element_size") and hasattr(values, "numel"):
        return [values]
    if isinstance(values, dict):
        values = list(values.values())
    if isinstance(values, (tuple, list)):
        return [tensor for value in values for tensor in tensors(value)]
    return []


def size(values: Any) -> int:
    """The bytes of all tensors in `values`."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors(values))


def operations(torch: Any, module: Any, inputs: list[Any], outputs: list[Any]) -> int | None:
    """Arithmetic operations of a call that took the tensors `inputs` and made `outputs`; `None` where there is no formula."""
    nn = torch.nn
    if not inputs or not outputs:
        return None
    made: int = outputs[0].numel()
    if isinstance(module, nn.Linear):
        return int(2 * made * module.in_features) + (0 if module.bias is None else made)
    if isinstance(module, nn.modules.conv._ConvTransposeNd):
        of_each: int = module.out_channels // module.groups * math.prod(module.kernel_size)
        return 2 * int(inputs[0].numel()) * of_each + (0 if module.bias is None else made)
    if isinstance(module, nn.modules.conv._ConvNd):
        of_each = module.in_channels // module.groups * math.prod(module.kernel_size)
        return 2 * made * of_each + (0 if module.bias is None else made)
    if isinstance(module, nn.MultiheadAttention):
        return _attention(module, inputs)
    if isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
        return 0
    return _norm(nn, module, inputs[0].numel())


def _attention(module: Any, inputs: list[Any]) -> int:
    query = inputs[0]
    key = inputs[1] if len(inputs) > 1 else query
    width: int = module.embed_dim
    queries, keys = int(query.numel()) // width, int(key.numel()) // int(module.kdim)
    # Tokens of one sequence; a batch is what there is besides.
    length: int = key.shape[0] if key.dim() == 2 else key.shape[1 if module.batch_first else 0]
    projections: int = 2 * width * (2 * queries * width + keys * (module.kdim + module.vdim))
    biases: int = 0 if module.in_proj_bias is None else width * (2 * queries + 2 * keys)
    return projections + biases + 4 * queries * length * width


def _norm(nn: Any, module: Any, elements: int) -> int | None:
    batch = nn.modules.batchnorm._BatchNorm
    instance = nn.modules.instancenorm._InstanceNorm
    if hasattr(nn, "RMSNorm") and isinstance(module, nn.RMSNorm):
        return elements * (3 + (module.weight is not None))
    if isinstance(module, (nn.LayerNorm, nn.GroupNorm, batch, instance)):
        is_plain = isinstance(module, batch) and not module.training and module.track_running_stats
        is_affine = getattr(module, "affine", False) or getattr(module, "elementwise_affine", False)
        return elements * ((2 if is_plain else 5) + 2 * is_affine)
    return None


def moved(torch: Any, module: Any, inputs: list[Any], outputs: list[Any]) -> int:
    """Bytes that a call must move at least: what it has learnt, what goes in, what comes out, each once."""
    made = size(outputs)
    if isinstance(module, torch.nn.Embedding):
        # Of the table only what is asked for.
        return size(inputs) + 2 * made
    learnt: int = sum(parameter.numel() * parameter.element_size() for parameter in module.parameters())
    # The same tensor given thrice, as in self-attention, is read once.
    distinct = {id(tensor): tensor for tensor in inputs}
    return learnt + size(list(distinct.values())) + made
