"""Ask `carnot serve` with curl, over TLS: what a shell script would do, and a configuration that changes on the way.

    apt-get install curl openssl
    python tools/clients/with_curl.py target/debug/carnot

Starts the server with the embedded model, a certificate made for the occasion and a configuration file, on a port that is free, and ends it.
"""
import argparse
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

from server import serve


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("carnot")
    options = parser.parse_args()
    missing = [program for program in ("curl", "openssl") if shutil.which(program) is None]
    if missing:
        return print(f"curl: skipped, there is no {' and no '.join(missing)}")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        certificate, key = make_certificate(folder)
        config = folder / "carnot.toml"
        config.write_text(f'api_key = ["team:sk-old"]\ntls_cert = "{certificate}"\ntls_key = "{key}"\n')
        with serve(options.carnot, "--config", str(config)) as (address, pid):
            assert address.startswith("https://")
            ask = lambda path, *flags, key="sk-old": curl(certificate, address, path, *flags, "-H", f"authorization: Bearer {key}")
            assert json.loads(ask("/health"))["status"] == "ok"
            answer = json.loads(ask("/v1/completions", "-d", '{"prompt": "import os\\n", "max_tokens": 8, "temperature": 0}'))
            whole = answer["choices"][0]["text"]
            events = ask("/v1/completions", "-N", "-d", '{"prompt": "import os\\n", "max_tokens": 8, "temperature": 0, "stream": true}')
            data = [line[6:] for line in events.splitlines() if line.startswith("data: ")]
            assert data[-1] == "[DONE]" and "".join(json.loads(event)["choices"][0]["text"] for event in data[:-1]) == whole
            assert json.loads(ask("/infer", "-d", '{"question": "Add two numbers.", "max_tokens": 8}'))["response_tokens"] <= 8
            reload(config, pid, lambda key: "error" not in json.loads(ask("/v1/models", key=key)))
    print("curl: over TLS it completes, streams, asks, and sees keys change")


def make_certificate(folder):
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )
    return certificate, key


def curl(certificate, address, path, *flags):
    command = ["curl", "--silent", "--show-error", "--max-time", "30", "--cacert", certificate, *flags, f"{address}{path}"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def reload(config, pid, opens):
    """SIGHUP puts the keys of the file in force; a file that is wrong changes nothing."""
    assert opens("sk-old") and not opens("sk-new")
    good = config.read_text().replace("sk-old", "sk-new")
    config.write_text("api_key = 7x\n")
    os.kill(pid, signal.SIGHUP)
    time.sleep(0.3)
    assert opens("sk-old")
    config.write_text(good)
    os.kill(pid, signal.SIGHUP)
    for _ in range(100):
        if opens("sk-new"):
            break
        time.sleep(0.05)
    assert opens("sk-new") and not opens("sk-old")


main()
