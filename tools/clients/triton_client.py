"""Talk to `carnot serve` with Triton's own client, and hold the answers of a tensor model to what NumPy computes.

    pip install 'tritonclient[http]' onnx numpy
    python tools/clients/triton_client.py target/debug/carnot [--transcript]

Writes a small ONNX model, serves it by the embedded engine on a port that is free, and ends the server.
"""
import argparse
import pathlib
import tempfile

import numpy
import onnx
import tritonclient.http as triton
from onnx import TensorProto, helper, numpy_helper

from server import serve


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("carnot")
    parser.add_argument("--transcript", action="store_true")
    options = parser.parse_args()
    tell = print if options.transcript else lambda *_: None
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "digits.onnx"
        weights = write_model(path)
        flags = [str(path), "--engine", "embedded", "--max-batch", "16", "--model-control"]
        with serve(options.carnot, *flags) as (address, _):
            client = triton.InferenceServerClient(address.removeprefix("http://"), concurrency=8)
            for check in (health, metadata, json_and_bytes, outputs, priorities, together, errors, statistics, repository):
                check(client, weights, tell)
            client.close()
    print("triton: health, metadata, tensors in JSON and as bytes, priorities, shared runs, errors, statistics and the repository are as promised")


def write_model(path):
    """A perceptron of two layers: `y` the scores, `most` the number of the highest."""
    random = numpy.random.default_rng(1)
    first, second = random.normal(size=(64, 32)).astype("f"), random.normal(size=(32, 10)).astype("f")
    nodes = [
        helper.make_node("MatMul", ["x", "first"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "second"], ["y"]),
        helper.make_node("ArgMax", ["y"], ["most"], axis=1, keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 10]), helper.make_tensor_value_info("most", TensorProto.INT64, ["rows"])],
        [numpy_helper.from_array(first, "first"), numpy_helper.from_array(second, "second")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return first, second


def scores(weights, x):
    return numpy.maximum(x @ weights[0], 0) @ weights[1]


def pixels(rows, seed=0):
    return numpy.random.default_rng(seed).uniform(size=(rows, 64)).astype("f")


def given(x, as_bytes=True):
    tensor = triton.InferInput("x", list(x.shape), "FP32")
    tensor.set_data_from_numpy(x, binary_data=as_bytes)
    return [tensor]


def health(client, _, tell):
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("digits")
    assert not client.is_model_ready("nobody")


def metadata(client, _, tell):
    server = client.get_server_metadata()
    tell("server:", server)
    assert {"binary_tensor_data", "statistics", "model_repository"} <= set(server["extensions"])
    model = client.get_model_metadata("digits", "1")
    tell("model:", model)
    assert model["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 64]}]
    assert [output["datatype"] for output in model["outputs"]] == ["FP32", "INT64"]


def json_and_bytes(client, weights, tell):
    x = pixels(3)
    for as_bytes in (True, False):
        wanted = [triton.InferRequestedOutput(name, binary_data=as_bytes) for name in ("y", "most")]
        answer = client.infer("digits", given(x, as_bytes), outputs=wanted, request_id="seven")
        tell("answer:", answer.get_response())
        assert answer.get_response()["id"] == "seven"
        numpy.testing.assert_allclose(answer.as_numpy("y"), scores(weights, x), rtol=1e-4, atol=1e-4)
        numpy.testing.assert_array_equal(answer.as_numpy("most"), scores(weights, x).argmax(1))


def outputs(client, weights, tell):
    x = pixels(1)
    # Where nothing is said the client asks for all outputs, as bytes.
    everything = client.infer("digits", given(x))
    assert [output["name"] for output in everything.get_response()["outputs"]] == ["y", "most"]
    one = client.infer("digits", given(x), outputs=[triton.InferRequestedOutput("most")])
    assert [output["name"] for output in one.get_response()["outputs"]] == ["most"]


def priorities(client, weights, tell):
    answer = client.infer("digits", given(pixels(1)), priority=10, timeout=5_000_000)
    assert answer.as_numpy("y").shape == (1, 10)


def together(client, weights, tell):
    """Up to eight at once: the client has as many connections."""
    inputs = [pixels(1 + seed % 3, seed) for seed in range(200)]
    asked = [(x, client.async_infer("digits", given(x))) for x in inputs]
    rows = []
    for x, waiting in asked:
        answer = waiting.get_result()
        numpy.testing.assert_allclose(answer.as_numpy("y"), scores(weights, x), rtol=1e-4, atol=1e-4)
        rows.append(answer.get_response()["parameters"]["batch_rows"])
    tell("rows of runs:", rows)
    assert max(rows) <= 16


def errors(client, weights, tell):
    def fails(*arguments, **options):
        try:
            client.infer(*arguments, **options)
        except triton.InferenceServerException as error:
            tell("error:", error.status(), error.message())
            return int(error.status()), error.message()
        raise AssertionError("it was answered")

    assert fails("nobody", given(pixels(1)))[0] == 404
    assert fails("digits", given(pixels(1)[:, :8])) == (400, "tensor x: shape: expected [?, 64], got [1, 8]")
    assert fails("digits", given(pixels(1)), outputs=[triton.InferRequestedOutput("z")])[0] == 400
    assert fails("digits", given(pixels(1)), priority=11)[0] == 400


def statistics(client, weights, tell):
    (model,) = client.get_inference_statistics("digits")["model_stats"]
    tell("statistics:", model)
    counts = model["inference_stats"]
    assert counts["success"]["count"] >= 205 and counts["fail"]["count"] == 0
    assert model["inference_count"] >= model["execution_count"] > 0
    assert sum(batch["compute_infer"]["count"] for batch in model["batch_stats"]) == model["execution_count"]


def repository(client, weights, tell):
    states = lambda: {model["name"]: model["state"] for model in client.get_model_repository_index()}
    assert states() == {"digits": "READY"}
    client.unload_model("digits")
    assert states() == {"digits": "UNAVAILABLE"} and not client.is_model_ready("digits")
    client.load_model("digits")
    assert states() == {"digits": "READY"}
    x = pixels(2)
    numpy.testing.assert_allclose(client.infer("digits", given(x)).as_numpy("y"), scores(weights, x), rtol=1e-4, atol=1e-4)


main()
