"""Writes the test cases of ONNX's own operators, which the `onnx` package makes when it is imported, as files.

    PYTHONHASHSEED=0 python cases.py FOLDER

FOLDER/cases.txt names each case with its tolerances and the number of its inputs and outputs; what it needs is in FOLDER/NAME. Values that are no
tensors (sequences, optionals, maps) are not written: such a case has `-` in place of the numbers. The same versions write the same bytes.
"""

import random
import sys
from pathlib import Path

import numpy as np

random.seed(0)
np.random.seed(0)

from onnx import TensorProto, numpy_helper  # noqa: E402
from onnx.backend.test.loader import load_model_tests  # noqa: E402


def proto(value, info):
    if not info.type.HasField("tensor_type"):
        return None
    if isinstance(value, TensorProto):
        tensor = TensorProto()
        tensor.CopyFrom(value)
        tensor.name = info.name
        return tensor
    return numpy_helper.from_array(np.asarray(value), info.name)


def write(case, folder):
    """The line of a case."""
    folder.mkdir()
    (folder / "model.onnx").write_bytes(case.model.SerializeToString(deterministic=True))
    inputs, outputs = case.data_sets[0]
    graph = case.model.graph
    counts = []
    for kind, values, infos in (("input", inputs, graph.input), ("output", outputs, graph.output)):
        try:
            protos = [proto(value, info) for value, info in zip(values, infos, strict=True)]
        except (TypeError, ValueError):
            protos = [None]
        if None in protos:
            counts.append("-")
            continue
        for index, tensor in enumerate(protos):
            data = tensor.SerializeToString(deterministic=True)
            (folder / f"{kind}_{index}.pb").write_bytes(data)
        counts.append(str(len(protos)))
    return " ".join([case.name, str(case.rtol), str(case.atol), *counts])


def main():
    folder = Path(sys.argv[1])
    cases = sorted(load_model_tests(kind="node"), key=lambda case: case.name)
    lines = [write(case, folder / case.name) for case in cases]
    # Last: whoever finds this file finds all others.
    (folder / "cases.txt").write_text("\n".join(lines) + "\n")


main()
