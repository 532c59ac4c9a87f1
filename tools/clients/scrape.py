"""Hold the metrics of `carnot serve` to what Prometheus asks of names and forms.

    apt-get install prometheus
    python tools/clients/scrape.py target/debug/carnot [--print]

Starts the server with the embedded model on a port that is free, asks it a little, gives /metrics to `promtool check metrics`, and ends it.
"""
import argparse
import json
import shutil
import subprocess
import urllib.request

from server import serve


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("carnot")
    parser.add_argument("--print", action="store_true", help="print the metrics")
    options = parser.parse_args()
    if shutil.which("promtool") is None:
        return print("metrics: skipped, there is no promtool")
    with serve(options.carnot) as (address, _):
        body = {"prompt": "def f(x):\n", "max_tokens": 16}
        for _ in range(3):
            urllib.request.urlopen(f"{address}/v1/completions", json.dumps(body).encode()).read()
        with urllib.request.urlopen(f"{address}/metrics") as response:
            text = response.read().decode()
    if options.print:
        print(text)
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, text=True, capture_output=True)
    complaints = checked.stderr.strip()
    assert checked.returncode == 0 and not complaints, complaints
    print(f"metrics: promtool has nothing to say of {text.count('# TYPE')} metrics")


main()
