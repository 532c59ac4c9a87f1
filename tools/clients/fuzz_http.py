"""Ask `carnot serve` what its own description allows and what it does not, and see that it answers as described.

    pip install schemathesis
    python tools/clients/fuzz_http.py target/debug/carnot [--examples 20]

Starts the server with the embedded model on a port that is free, lets schemathesis make up requests from /openapi.json, and ends it.
"""
import argparse
import pathlib
import subprocess
import sys
import urllib.request

from server import serve

# A health check that nobody fails: everything that a response has to be.
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("carnot")
    parser.add_argument("--examples", type=int, default=20, help="requests made up for each route")
    options = parser.parse_args()
    # A wait that is too long is answered with 503, which the checks take for a fault.
    flags = ["--request-seconds", "20", "--queue-seconds", "3600"]
    with serve(options.carnot, *flags) as (address, _):
        program = str(pathlib.Path(sys.executable).parent / "schemathesis")
        arguments = ["run", f"{address}/openapi.json", "--checks", CHECKS, "--max-examples", str(options.examples), "--seed", "1", "--workers", "2"]
        subprocess.run([program, *arguments], check=True)
        with urllib.request.urlopen(f"{address}/health") as health:
            assert b'"lost_requests":0' in health.read().replace(b" ", b"")


main()
