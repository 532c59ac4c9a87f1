"""A client of a completions route that times what it gets, for the scripts beside this one."""
import asyncio
import json
import time


class Refused(RuntimeError):
    """The server took the request not, or not to its end."""

    def __init__(self, status, body):
        super().__init__(f"{status}: {body}")
        self.status = status


async def post(port, body):
    """Sends a completion and yields the events of its stream."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        data = json.dumps(body).encode()
        head = f"POST /v1/completions HTTP/1.0\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n"
        writer.write(head.encode() + data)
        status = await reader.readline()
        if b" 200 " not in status:
            raise Refused(int(status.split()[1]), (await reader.read()).decode())
        while line := await reader.readline():
            if line.startswith(b"data: ") and b"[DONE]" not in line:
                event = json.loads(line[6:])
                if "error" in event:
                    raise Refused(200, event["error"]["message"])
                yield event
    finally:
        writer.close()


async def chat(port, prompt, tokens, **more):
    """The times of its tokens, in seconds from the request on."""
    begin, times = time.perf_counter(), []
    body = {"prompt": prompt, "max_tokens": tokens, "temperature": 0, "stream": True, "ignore_eos": True} | more
    async for event in post(port, body):
        if event["choices"] and event["choices"][0].get("text"):
            times.append(time.perf_counter() - begin)
    return times


async def get(port, path):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.0\r\nhost: bench\r\n\r\n".encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return body.decode()


async def ready(port):
    for _ in range(1200):
        try:
            await chat(port, "a", 2)
            return
        except (OSError, RuntimeError):
            await asyncio.sleep(0.1)
    raise RuntimeError(f"nobody answers on port {port}")
