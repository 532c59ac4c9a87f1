"""What sharing runs is worth: a perceptron over HTTP, asked by many clients at once.

    cargo build --release
    pip install onnx numpy onnxruntime fastapi uvicorn uvloop httptools
    python tools/bench/batching.py [--clients 32] [--seconds 3] [--rounds 5]

Three servers of the same ONNX file, each with the same ONNX Runtime: `carnot serve` that shares runs, `carnot serve --max-batch 1`, and FastAPI with ONNX
Runtime, a worker for each core. In each round all are asked in turns by `carnot bench serve --protocol oip`, one row a request; what is told are the medians of
the rounds' ratios, and where they lie. The client runs on the same machine and takes its part of the cores from all three alike.
"""
import argparse
import contextlib
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).parents[2]

FASTAPI = '''
import os
import numpy, onnxruntime
from fastapi import FastAPI, Request

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(os.environ["MODEL"], options, providers=["CPUExecutionProvider"])
app = FastAPI()
inputs = [{"name": "x", "datatype": "FP32", "shape": [-1, 64]}]


@app.get("/v2/models/digits")
def model():
    return {"name": "digits", "inputs": inputs, "outputs": []}


@app.post("/v2/models/digits/infer")
async def infer(request: Request):
    given = (await request.json())["inputs"][0]
    x = numpy.asarray(given["data"], dtype="f").reshape(given["shape"])
    (y,) = session.run(["y"], {"x": x})
    return {"model_name": "digits", "outputs": [{"name": "y", "datatype": "FP32", "shape": list(y.shape), "data": y.ravel().tolist()}]}
'''


def write_model(path, width):
    """64 pixels, two hidden layers of `width`, 10 digits."""
    import numpy
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    random = numpy.random.default_rng(1)
    sizes = [64, width, width, 10]
    nodes, weights, value = [], [], "x"
    for layer, (rows, columns) in enumerate(zip(sizes, sizes[1:])):
        weight = random.normal(size=(rows, columns)).astype("f") / rows**0.5
        weights.append(numpy_helper.from_array(weight, f"w{layer}"))
        last = layer == len(sizes) - 2
        nodes.append(helper.make_node("MatMul", [value, f"w{layer}"], ["y" if last else f"h{layer}"]))
        if not last:
            nodes.append(helper.make_node("Relu", [f"h{layer}"], [f"r{layer}"]))
        value = f"r{layer}"
    tensor = helper.make_tensor_value_info
    graph = helper.make_graph(nodes, "digits", [tensor("x", TensorProto.FLOAT, ["rows", 64])], [tensor("y", TensorProto.FLOAT, ["rows", 10])], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


@contextlib.contextmanager
def running(command, port, **options):
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, **options)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{url}/v2/models/digits").read()
                break
            time.sleep(0.1)
        else:
            raise SystemExit(f"{command}: it does not answer")
        yield url
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()


def rate(url, options):
    """Inferences a second."""
    command = [options.carnot, "bench", "serve", "--url", url, "--protocol", "oip", "--model", "digits", "--clients", str(options.clients)]
    told = subprocess.run([*command, "--duration", str(options.seconds), "--format", "json"], capture_output=True, text=True)
    if told.returncode:
        raise SystemExit(told.stderr)
    metrics = json.loads(told.stdout)["metrics"]
    (rate,) = [metric for metric in metrics if metric["unit"] == "inferences/s"]
    return statistics.median(rate["values"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--width", type=int, default=2048, help="of the hidden layers")
    parser.add_argument("--engine", default="onnxruntime")
    parser.add_argument("--port", type=int, default=18120)
    parser.add_argument("--carnot", type=pathlib.Path, default=ROOT / "target/release/carnot")
    options = parser.parse_args()
    port = options.port
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = pathlib.Path(name)
        model = folder / "digits.onnx"
        write_model(model, options.width)
        (folder / "peer.py").write_text(FASTAPI)
        # A virtual environment's own library, also where it is not active.
        environment = {**os.environ, "VIRTUAL_ENV": sys.prefix, "MODEL": str(model)}
        carnot = [options.carnot, "serve", model, "--engine", options.engine, "--log-level", "warn"]
        uvicorn = [sys.executable, "-m", "uvicorn", "peer:app", "--workers", str(os.cpu_count()), "--log-level", "error", "--port", str(port + 2)]
        servers = {
            "shared": stack.enter_context(running([*carnot, "--max-batch", str(options.clients), "--port", str(port)], port, env=environment)),
            "one by one": stack.enter_context(running([*carnot, "--max-batch", "1", "--port", str(port + 1)], port + 1, env=environment)),
            "FastAPI": stack.enter_context(running(uvicorn, port + 2, env=environment, cwd=folder)),
        }
        rates = {name: [] for name in servers}
        for index in range(options.rounds + 1):
            for name, url in servers.items():
                measured = rate(url, options)
                # The first round warms all of them up.
                if index:
                    rates[name].append(measured)
            if index:
                print(f"round {index}: " + ", ".join(f"{name} {rates[name][-1]:,.0f}/s" for name in servers), flush=True)
        with urllib.request.urlopen(f"{servers['shared']}/stats") as response:
            print("rows of a run, on average:", round(json.load(response)["tensor_models"][0]["avg_batch_size"], 1))
    for name in ("one by one", "FastAPI"):
        ratios = [shared / other for shared, other in zip(rates["shared"], rates[name])]
        print(f"shared over {name}: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


main()
