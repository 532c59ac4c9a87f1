"""ONNX Runtime's sessions: their runs, and what they timed themselves."""

from __future__ import annotations

import carnot
import pytest
from conftest import within

runtime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed: pip install -r tools/requirements.txt")
onnx = pytest.importorskip("onnx", reason="onnx is not installed: pip install -r tools/requirements.txt")
numpy = pytest.importorskip("numpy")


def model():
    """y = relu(x · w)"""
    floats = onnx.TensorProto.FLOAT
    weights = onnx.numpy_helper.from_array(numpy.full((4, 3), 0.5, dtype=numpy.float32), "w")
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["h"], "product"), onnx.helper.make_node("Relu", ["h"], ["y"], "relu")],
        "small",
        [onnx.helper.make_tensor_value_info("x", floats, [None, 4])],
        [onnx.helper.make_tensor_value_info("y", floats, [None, 3])],
        [weights],
    )
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    made.ir_version = 9
    return made.SerializeToString()


def test_each_run_is_a_stage(recorded):
    session = carnot.instrument_onnx(runtime.InferenceSession(model()), name="classifier")
    x = numpy.ones((2, 4), dtype=numpy.float32)
    with recorded() as run:
        (y,) = session.run(None, {"x": x})
        session.run(["y"], {"x": x})
        binding = session.io_binding()
        binding.bind_cpu_input("x", x)
        binding.bind_output("y")
        session.run_with_iobinding(binding)
    assert numpy.array_equal(y, numpy.full((2, 3), 2.0)) and session.get_inputs()[0].name == "x"
    assert [(span["kind"], span["name"]) for span in run.spans] == [("stage", "classifier")] * 3


def test_the_runtimes_own_profile_lies_within_the_runs(recorded, tmp_path):
    options = runtime.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(tmp_path / "profile")
    session = carnot.instrument_onnx(runtime.InferenceSession(model(), options), name="m")
    x = numpy.ones((64, 4), dtype=numpy.float32)
    with recorded() as run:
        for _ in range(3):
            session.run(None, {"x": x})
        assert session.fold_profile() == 6
    nodes = [span for span in run.spans if span["kind"] == "layer"]
    assert [node["name"] for node in nodes] == ["m.product", "m.relu"] * 3
    assert {node["thread_name"] for node in nodes} == {"onnxruntime"} and {node["index"] for node in nodes} == {0, 1}
    runs = [span for span in run.spans if span["name"] == "m"]
    # Two clocks agree to a fraction of a millisecond, the runtime's in whole microseconds.
    slack_ns = 500_000
    for index, node in enumerate(nodes):
        around = runs[index // 2]
        assert around["start_ns"] - slack_ns <= node["start_ns"] and node["end_ns"] <= around["end_ns"] + slack_ns
    assert not within(nodes[0], runs[0]), "they have a line of their own"


def test_what_is_wrong_is_named():
    with pytest.raises(TypeError, match="session: expected an onnxruntime.InferenceSession, got builtins.int"):
        carnot.instrument_onnx(3)
    session = carnot.instrument_onnx(runtime.InferenceSession(model()), name="m")
    with pytest.raises(RuntimeError, match="m: expected a profile of ONNX Runtime, got none"):
        session.fold_profile()
