"""Talk to `carnot serve` with OpenAI's own client, and hold the answers to what it promises.

    pip install openai
    python tools/clients/openai_client.py target/debug/carnot [--transcript]

Starts the server with the embedded model on a port that is free, and ends it. With --transcript what was said is printed.
"""
import argparse
import base64
import concurrent.futures
import json
import struct

import openai

from server import serve

PROMPT = "def read_lines(path):\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("carnot")
    parser.add_argument("--transcript", action="store_true")
    options = parser.parse_args()
    tell = print if options.transcript else lambda *_: None
    with serve(options.carnot, "--api-key", "team:sk-test", "--max-queue", "4", "--parallel", "2") as (address, _):
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="sk-test", max_retries=0)
        for check in (models, completion, chat, stream, logprobs, choices, structured, sampling, embeddings, errors, keys, overload, leaving):
            check(client, tell)
    print("openai: models, completions, chats, streams, log-probabilities, embeddings, errors, keys, overload and the end are as promised")


def models(client, tell):
    listed = client.models.list().data
    tell("models:", [model.id for model in listed])
    assert [model.id for model in listed] == ["embedded"]


def complete(client, prompt=PROMPT, **options):
    options = {"max_tokens": 16, "temperature": 0} | options
    return client.completions.create(model="embedded", prompt=prompt, **options)


def completion(client, tell):
    answer = complete(client)
    again = complete(client)
    tell("completion:", repr(answer.choices[0].text), answer.usage)
    assert answer.choices[0].text == again.choices[0].text
    assert answer.usage.completion_tokens == 16 and answer.choices[0].finish_reason == "length"
    assert again.usage.prompt_tokens_details.cached_tokens == again.usage.prompt_tokens - 1
    stopped = complete(client, stop=[answer.choices[0].text[3:6]])
    assert stopped.choices[0].finish_reason == "stop" and stopped.choices[0].text == answer.choices[0].text[:3]


def chat(client, tell):
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Add two numbers."}]
    tools = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}]
    answer = client.chat.completions.create(model="embedded", messages=messages, tools=tools, max_tokens=12, temperature=0)
    tell("chat:", repr(answer.choices[0].message.content), answer.usage)
    assert answer.choices[0].message.role == "assistant" and answer.usage.completion_tokens <= 12


def structured(client, tell):
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"], "additionalProperties": False}
    messages = [{"role": "user", "content": "Is it?"}]
    form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    answer = client.chat.completions.create(model="embedded", messages=messages, response_format=form, max_tokens=40, temperature=0)
    tell("structured:", repr(answer.choices[0].message.content))
    assert isinstance(json.loads(answer.choices[0].message.content)["ok"], bool)


def embeddings(client, tell):
    texts = ["def add(a, b):", "def add(x, y):", "<html><body>"]
    answer = client.embeddings.create(model="embedded", input=texts)
    vectors = [each.embedding for each in answer.data]
    near, far = (sum(a * b for a, b in zip(vectors[0], vectors[at])) for at in (1, 2))
    tell("embeddings:", len(vectors[0]), "numbers; like", near, "unlike", far)
    assert near > far and abs(sum(value * value for value in vectors[0]) - 1) < 1e-3
    raw = client.embeddings.create(model="embedded", input=texts[0], encoding_format="base64", dimensions=8).data[0].embedding
    assert len(struct.unpack("<8f", base64.b64decode(raw))) == 8


def stream(client, tell):
    whole = complete(client).choices[0].text
    pieces, usage = [], None
    for chunk in complete(client, stream=True, stream_options={"include_usage": True}):
        pieces += [choice.text for choice in chunk.choices]
        usage = chunk.usage or usage
    tell("stream:", pieces)
    assert "".join(pieces) == whole and usage.completion_tokens == 16


def logprobs(client, tell):
    answer = complete(client, logprobs=3, max_tokens=4)
    told = answer.choices[0].logprobs
    tell("logprobs:", list(zip(told.tokens, told.token_logprobs)))
    assert len(told.tokens) == len(told.token_logprobs) == len(told.top_logprobs) == 4
    for chosen, top in zip(told.token_logprobs, told.top_logprobs):
        assert chosen <= 0 and chosen == max(top.values()), "greedy takes the likeliest"


def choices(client, tell):
    answer = complete(client, prompt=[PROMPT, "import os\n"], n=2, temperature=1, seed=5)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    again = complete(client, prompt=[PROMPT, "import os\n"], n=2, temperature=1, seed=5)
    texts = [[choice.text for choice in each.choices] for each in (answer, again)]
    tell("choices:", texts[0])
    assert texts[0] == texts[1] and texts[0][0] != texts[0][1]


def sampling(client, _):
    banned = complete(client).choices[0].text
    token = client.post("/../tokenize", body={"content": banned[:4]}, cast_to=object)["tokens"][0]
    other = complete(client, logit_bias={str(token): -100}, presence_penalty=0.5, frequency_penalty=0.5, top_p=0.9).choices[0].text
    assert other != banned


def errors(client, tell):
    for options, kind, code in [
        ({"temperature": -1}, openai.BadRequestError, "invalid_value"),
        ({"prompt": "x " * 20_000}, openai.BadRequestError, "context_length_exceeded"),
        ({"n": 99}, openai.BadRequestError, "invalid_value"),
    ]:
        try:
            complete(client, **options)
        except kind as error:
            tell("error:", error)
            assert error.code == code, error
        else:
            raise AssertionError(f"{options} were taken")
    try:
        client.chat.completions.create(model="gpt", messages=[{"role": "user", "content": "hi"}])
    except openai.NotFoundError as error:
        assert error.code == "model_not_found"
    else:
        raise AssertionError("an unknown model was taken")


def keys(client, _):
    try:
        client.with_options(api_key="sk-wrong").models.list()
    except openai.AuthenticationError as error:
        assert error.code == "invalid_api_key"
    else:
        raise AssertionError("a wrong key was taken")


def overload(client, tell):
    def ask(_):
        try:
            return complete(client, max_tokens=400, extra_body={"ignore_eos": True}).usage.completion_tokens
        except openai.InternalServerError as error:
            assert error.status_code == 503 and error.code == "queue_full", error
            return int(error.response.headers["retry-after"])

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        results = list(pool.map(ask, range(16)))
    tell("overload:", results)
    assert 400 in results and min(results) >= 1 and any(result < 400 for result in results)


def leaving(client, _):
    for chunk in complete(client, max_tokens=5000, stream=True, extra_body={"ignore_eos": True}):
        if chunk.choices:
            break
    assert complete(client).usage.completion_tokens == 16


main()
