"""Sessions: what they say of themselves, how they are set up, how they end."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time

import carnot
import pytest


def test_a_session_says_who_it_is(tmp_path):
    with carnot.Session("my run/1", tags={"model": "tiny", "seed": 3}, unit="frames", output=tmp_path, show=None) as session:
        assert carnot.session() is session and session.is_open and session.id == "my run/1"
        session.tag("later", 1.5)
        carnot.model("unet", parameters=1_000, kind="diffusion")
        carnot.model("unet", parameters=2_000, kind="diffusion")
        carnot.event("prompt_switch", {"index": 2, "path": tmp_path})
        carnot.event("bare")
    assert carnot.session() is None and not session.is_open
    assert session.trace.parent == tmp_path and session.trace.name.startswith("trace_my_run_1_")
    trace = carnot.read_trace(session.trace)
    told = trace["session"]
    assert told["tags"] == {"model": "tiny", "seed": "3", "later": "1.5"}
    assert (told["id"], told["unit"], told["outcome"], told["pid"]) == ("my run/1", "frames", "completed", os.getpid())
    assert told["models"] == [{"name": "unet", "kind": "diffusion", "parameters": 2000}]
    assert [(note["name"], note["data"]) for note in trace["notes"]] == [
        ("prompt_switch", {"index": 2, "path": str(tmp_path)}),
        ("bare", {}),
    ]


def test_reports_are_written_at_the_end(tmp_path):
    with carnot.Session("run", unit="frames", output=tmp_path, show=None, report_format="json") as session:
        with carnot.stage("decoding", items=3):
            pass
    (report,) = [path for path in session.files if path.suffix == ".json"]
    assert report.parent == tmp_path and "decoding" in report.read_text() and "decoding" in session.report
    assert session.trace in session.files
    without = carnot.Session("run", output=tmp_path / "none", show=None, generate_final_report=False)
    with without:
        pass
    assert without.files == [without.trace] and list((tmp_path / "none").iterdir()) == [without.trace]


def test_a_session_that_raises_has_failed_and_the_exception_goes_on(tmp_path):
    with pytest.raises(ZeroDivisionError):
        with carnot.Session("run", output=tmp_path, show=None) as session:
            1 / 0
    assert carnot.read_trace(session.trace)["session"]["outcome"] == {"failed": "ZeroDivisionError"}
    assert session.end() == session.trace, "ending it again changes nothing"


def test_starting_another_ends_the_open_one_with_a_warning(tmp_path):
    first = carnot.Session("first", output=tmp_path, show=None).start()
    with pytest.warns(RuntimeWarning, match="session first was open and has been ended, because second starts"):
        second = carnot.Session("second", output=tmp_path, show=None).start()
    assert carnot.read_trace(first.trace)["session"]["outcome"] == "completed" and carnot.session() is second
    with pytest.raises(RuntimeError, match="session second is open"):
        second.start()
    second.end()


def test_a_session_can_be_used_again(tmp_path):
    session = carnot.Session("run", output=tmp_path, show=None)
    for name in ("first", "second"):
        with session, carnot.stage(name):
            pass
        assert [span["name"] for span in carnot.read_trace(session.trace)["spans"]] == [name]


def test_a_prompt_names_the_session(tmp_path):
    with carnot.Session(prompt="a fox", output=tmp_path, show=None, tags={"seed": 1}) as session:
        pass
    digest, moment = session.id.split("_")
    assert len(digest) == 8 and int(digest, 16) >= 0 and abs(int(moment) - time.time()) < 3600
    assert carnot.session_id("a fox").startswith(digest) and not carnot.session_id("a dog").startswith(digest)
    tags = carnot.read_trace(session.trace)["session"]["tags"]
    assert tags == {"prompt": "a fox", "prompt_length": "5", "seed": "1"}


def test_configuration_file_arguments_and_environment(tmp_path, monkeypatch):
    path = tmp_path / "profiling.yaml"
    path.write_text(f"profiling:\n  output_dir: {tmp_path}/from_file\n  profile_block_computation: false\n  session_tags: {{a: b}}\n")
    with carnot.Session.from_config(path, show=None) as session:
        with carnot.block(1), carnot.stage("x"):
            pass
    trace = carnot.read_trace(session.trace)
    assert session.trace.parent == tmp_path / "from_file"
    assert [span["name"] for span in trace["spans"]] == ["x"] and trace["session"]["tags"] == {"a": "b"}

    monkeypatch.setenv("CARNOT_PROFILING_OUTPUT_DIR", str(tmp_path / "from_environment"))
    with carnot.Session.from_config(path, show=None) as session:
        pass
    assert session.trace.parent == tmp_path / "from_environment"
    with carnot.Session(config=path, output=tmp_path / "from_argument", show=None) as session:
        pass
    assert session.trace.parent == tmp_path / "from_argument"

    monkeypatch.setenv("CARNOT_PROFILING_ENABLED", "false")
    with carnot.Session(output=tmp_path, show=None) as session:
        pass
    assert session.trace is None


def test_what_is_wrong_with_a_configuration_is_named(tmp_path):
    with pytest.raises(ValueError, match="unknown key gpu_monitor_intervall; did you mean gpu_monitor_interval?"):
        carnot.Session(gpu_monitor_intervall=1).start()
    with pytest.raises(ValueError, match="display_interval: expected seconds above 0, found 0"):
        carnot.Session(display_interval=0).start()
    with pytest.raises(ValueError, match="did you mean production?"):
        carnot.Session(preset="prodution").start()
    with pytest.raises(ValueError, match="config, preset: expected one of them, got both"):
        carnot.Session(preset="production", config="a.yaml")
    with pytest.raises(OSError, match="nowhere.yaml"):
        carnot.Session.from_config(tmp_path / "nowhere.yaml").start()
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        carnot.Session(output=tmp_path / "file" / "folder").start()
    assert carnot.session() is None


def test_ranks_come_from_the_environment(tmp_path, monkeypatch):
    for name, value in {"RANK": "2", "WORLD_SIZE": "4", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    with carnot.Session("run", output=tmp_path, show=None) as session:
        pass
    assert session.trace.parent == tmp_path / "rank_2"
    assert carnot.read_trace(session.trace)["session"]["rank"] == {"rank": 2, "world_size": 4, "local_rank": 0}
    monkeypatch.setenv("RANK", "4")
    with pytest.raises(ValueError, match="RANK: expected less than WORLD_SIZE, 4, got 4"):
        carnot.Session().start()
    monkeypatch.setenv("WORLD_SIZE", "four")
    with pytest.raises(ValueError, match="WORLD_SIZE: expected a number, got 'four'"):
        carnot.Session().start()


def test_the_summary_and_the_live_line(tmp_path):
    shown = []
    seen = threading.Event()

    def show(line):
        shown.append(line)
        seen.set()

    with carnot.Session("run", output=tmp_path, show=show, display_interval=0.05) as session:
        with carnot.stage("encode"):
            pass
        carnot.frame(0, count=5)
        session.flush()
        summary = carnot.summary()
        assert seen.wait(60)
    assert summary["stages"]["encode"][0] == 1 and summary["frames"] == 5
    assert shown[0].startswith("carnot: run · ")


def test_a_display_that_raises_is_told_and_does_not_end_the_recording(tmp_path, monkeypatch):
    told = []
    called = threading.Event()

    def hook(unraisable):
        told.append(unraisable.exc_value)
        called.set()

    monkeypatch.setattr(sys, "unraisablehook", hook)

    def show(line):
        raise ValueError("no terminal")

    with carnot.Session("run", output=tmp_path, show=show, display_interval=0.05) as session:
        assert called.wait(60)
        with carnot.stage("after"):
            pass
    assert [span["name"] for span in carnot.read_trace(session.trace)["spans"]] == ["after"]
    assert str(told[0]) == "no terminal"


def run_python(code, *arguments):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)], capture_output=True, text=True, timeout=300
    )


def test_a_program_that_forgets_to_end_its_session_loses_nothing(tmp_path):
    ended = run_python(
        """
        import sys, carnot
        carnot.Session("run", output=sys.argv[1], show=None).start()
        with carnot.stage("last"): pass
        """,
        tmp_path,
    )
    assert ended.returncode == 0, ended.stderr
    (path,) = tmp_path.glob("*.carnot")
    trace = carnot.read_trace(path)
    assert [span["name"] for span in trace["spans"]] == ["last"] and trace["session"]["outcome"] == "completed"


def test_a_killed_program_leaves_what_it_recorded(tmp_path):
    ended = run_python(
        """
        import os, signal, sys, carnot
        session = carnot.Session("run", output=sys.argv[1], show=None).start()
        with carnot.stage("before"): pass
        session.flush()
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        tmp_path,
    )
    assert ended.returncode == -9
    (path,) = tmp_path.glob("*.carnot")
    trace = carnot.read_trace(path)
    assert [span["name"] for span in trace["spans"]] == ["before"] and trace["session"]["outcome"] is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_records_nothing_and_can_have_its_own_session(tmp_path):
    ended = run_python(
        """
        import os, sys, carnot
        with carnot.Session("parent", output=sys.argv[1], show=None):
            child = os.fork()
            if child == 0:
                assert carnot.session() is None
                with carnot.stage("lost"): pass
                with carnot.Session("child", output=sys.argv[1], show=None):
                    with carnot.stage("of the child"): pass
                sys.stdout.flush()
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
            with carnot.stage("of the parent"): pass
        """,
        tmp_path,
    )
    assert ended.returncode == 0, ended.stderr
    names = {}
    for path in tmp_path.glob("*.carnot"):
        trace = carnot.read_trace(path)
        names[trace["session"]["id"]] = [span["name"] for span in trace["spans"]]
    assert names == {"parent": ["of the parent"], "child": ["of the child"]}


def test_a_foreign_file_is_named(tmp_path):
    path = tmp_path / "foreign.carnot"
    path.write_text("{}")
    with pytest.raises(ValueError, match="foreign.carnot: not a trace file"):
        carnot.read_trace(path)
    with pytest.raises(OSError, match="nowhere"):
        carnot.read_trace(tmp_path / "nowhere")
