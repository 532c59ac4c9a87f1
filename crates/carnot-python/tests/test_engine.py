"""The text engine: whole, piece by piece, from several threads."""

from __future__ import annotations

import threading

import carnot
import pytest

if not hasattr(carnot, "Engine"):
    pytest.skip("built without the feature `engine`", allow_module_level=True)

PROMPT = "def add(a, b):\n    return"


@pytest.fixture(scope="module")
def engine():
    return carnot.Engine(threads=2, context=512)


def test_the_embedded_model_continues_a_prompt(engine):
    made = engine.generate(PROMPT, max_tokens=12)
    assert made.text and str(made) == made.text and made.reason in ("stop", "length")
    assert made.usage["generated_tokens"] == made.generated_tokens <= 12 and made.prompt_tokens > 3
    assert engine.generate(PROMPT, max_tokens=12).text == made.text, "without temperature it says the same again"
    assert engine.name == "embedded" and engine.parameters > 1_000_000 and engine.context_length == 512


def test_pieces_make_the_whole(engine):
    pieces = engine.stream(PROMPT, max_tokens=12)
    assert pieces.usage is None
    assert "".join(pieces) == engine.generate(PROMPT, max_tokens=12).text
    assert pieces.usage["generated_tokens"] <= 12 and list(pieces) == []


def test_a_seed_determines_the_draws(engine):
    def draw(seed):
        return engine.generate(PROMPT, max_tokens=24, temperature=2.0, seed=seed).text

    assert draw(1) == draw(1) and len({draw(seed) for seed in range(1, 5)}) > 1


def test_a_stop_text_ends_it(engine):
    whole = engine.generate(PROMPT, max_tokens=24).text
    stop = whole[4:6]
    ended = engine.generate(PROMPT, max_tokens=24, stop=[stop])
    assert ended.text == whole[: whole.index(stop)] and ended.reason == "stop"


def test_a_stream_that_is_given_up_makes_room(engine):
    for _ in range(20):
        pieces = engine.stream(PROMPT, max_tokens=400)
        next(pieces)
        del pieces
    assert engine.generate(PROMPT, max_tokens=4).generated_tokens == 4


def test_streams_of_several_threads_share_the_engine(engine):
    expected = engine.generate(PROMPT, max_tokens=30).text
    made = [None] * 4

    def work(index):
        made[index] = "".join(engine.stream(PROMPT, max_tokens=30))

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [expected] * 4


def test_python_goes_on_while_the_engine_computes(engine):
    """Another thread gets its turns between two tokens' worth of computing: with Python's lock held it would get none until the end."""
    turns = 0
    is_over = threading.Event()

    def count():
        nonlocal turns
        while not is_over.is_set():
            turns += 1

    counter = threading.Thread(target=count)
    counter.start()
    before = turns
    engine.generate(PROMPT, max_tokens=100)
    gained = turns - before
    is_over.set()
    counter.join()
    assert gained > 0


def test_its_operations_are_in_the_recording(recorded, engine):
    with recorded(unit="tokens") as run:
        with carnot.stage("agent"):
            engine.generate(PROMPT, max_tokens=3)
    assert run.names().count("step") >= 3 and run.span("agent")["kind"] == "stage"


def test_what_is_wrong_is_named(engine, tmp_path):
    with pytest.raises(ValueError, match="temperature: expected"):
        engine.generate(PROMPT, temperature=-1)
    with pytest.raises(ValueError, match="leaves no room in a context of 512"):
        engine.generate("word " * 2000)
    with pytest.raises(ValueError, match="threads: expected 1 or more, got 0"):
        carnot.Engine(threads=0)
    with pytest.raises(RuntimeError, match="nowhere.gguf"):
        carnot.Engine(tmp_path / "nowhere.gguf")
