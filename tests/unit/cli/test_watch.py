"""`pagewake watch` as a process: it serves, and ends as a service does."""

from __future__ import annotations

import gzip
import json
import signal
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.support.recordings import recording

COMMAND = (sys.executable, "-m", "pagewake", "watch")


def unpacked(name: str, to: Path) -> Path:
    to.write_bytes(gzip.decompress(recording(name).read_bytes()))
    return to


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_it_is_told_to_stop(tmp_path: Path, ending: signal.Signals) -> None:
    file = unpacked("seq.txt.gz", tmp_path / "f")
    with subprocess.Popen((*COMMAND, str(file), "--run", "here"), stderr=subprocess.PIPE) as run:
        assert run.stderr is not None
        port = json.loads(run.stderr.readline())["http"]
        with urlopen(f"http://127.0.0.1:{port}/metrics") as page:
            body = page.read().decode()
        assert 'pagewake_page_not_present_total{delivery="injected",run="here"' in body
        run.send_signal(ending)
        last = run.stderr.read().splitlines()[-1]
    assert run.returncode == 0
    assert json.loads(last)["event"] == "left"


def test_a_pipe_ends_it(tmp_path: Path) -> None:
    text = gzip.decompress(recording("seq.txt.gz").read_bytes())
    run = subprocess.run((*COMMAND, "-"), input=text, capture_output=True, check=False)
    assert run.returncode == 0
    assert json.loads(run.stderr.splitlines()[-1])["lines"] == 2988


def test_a_violation_is_its_exit_code_if_it_ends_with_the_file(tmp_path: Path) -> None:
    file = unpacked("seq.txt.gz", tmp_path / "f")
    lines = file.read_bytes().splitlines(keepends=True)
    ready = next(line for line in lines[1000:] if b"async_pf_ready" in line)
    file.write_bytes(b"".join(line * (1 + (line == ready)) for line in lines))
    run = subprocess.run((*COMMAND, "--until-end", file), capture_output=True, check=False)
    assert run.returncode == 1
    assert b"violation" in run.stderr.splitlines()[-1]
    file.write_bytes(b"\0")
    assert subprocess.run((*COMMAND, file), capture_output=True, check=False).returncode == 65
    file.unlink()
    assert subprocess.run((*COMMAND, file), capture_output=True, check=False).returncode == 2


def test_what_does_not_grow_is_not_waited_for(tmp_path: Path) -> None:
    file = unpacked("seq.txt.gz", tmp_path / "trace")
    (tmp_path / "trace_pipe").touch()
    run = subprocess.run((*COMMAND, file), capture_output=True, check=False)
    assert run.returncode == 2
    assert b"trace_pipe, or read it once with --until-end" in run.stderr
    assert subprocess.run((*COMMAND, "--until-end", file), check=False).returncode == 0
