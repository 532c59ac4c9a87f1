"""A `carnot serve` of one's own, for the scripts beside this one."""
import contextlib
import signal
import subprocess


@contextlib.contextmanager
def serve(carnot, *flags):
    """The address and process of a server with the embedded model on a port that is free; it is asked to end, and has to."""
    command = [carnot, "serve", "--port", "0", "--log-level", "error", *flags]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield server.stdout.readline().split()[-1], server.pid
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=30) == 0, "the server did not end well"
    finally:
        server.kill()
        server.wait()
