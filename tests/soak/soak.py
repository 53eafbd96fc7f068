"""Does to a cluster what may befall it, again and again, and looks whether anything is lost.

    python -m tests.soak.soak --kills 100 --seed 1 [--lanes 2] [--step 17]

A step is one fault while runs go on: who (a service, Kafka, Mosquitto), when (of a run's life) and
how; all are drawn from the seed.  Timed is the longest that a run stood still from then on, a
submission that came right after it included; compared is each run's digest, with that of the
embedded run.  Lanes work side by side, each a cluster with brokers, network and disks of its own.
Exit code 1 if a digest differs, a run stands still, or a command fails: with the seed and the step.
"""

from __future__ import annotations

import argparse
import logging
import queue
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import msgspec

from tests.soak import wire
from tests.soak.lane import Lane
from tests.soak.steps import MOMENTS, Step, steps
from tests.soak.ways import VICTIMS, WAYS, skipped, with_disks, with_faketime
from tests.soak.work import LATE, Done, Worker

RUNS = 2


def main() -> int:
    """0 if every digest was equal, and every run went on."""
    parser = argparse.ArgumentParser(prog="soak", description="Faults on a cluster, from a seed")
    parser.add_argument("--kills", type=int, default=100, help="how many steps")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--step", type=int, nargs="+", help="only these of the seed's")
    parser.add_argument("--lanes", type=int, default=2, help="clusters side by side")
    parser.add_argument("--runs", type=int, default=RUNS, help="runs at once in each")
    parser.add_argument("--brokers", type=int, default=1, choices=(1, 3), help="of Kafka, in each")
    parser.add_argument("--lane", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if options.lane is not None:
        return one_lane(options)
    return all_lanes(options)


# ------------------------------------------------------------------ one lane, a process of its own


def one_lane(options: argparse.Namespace) -> int:
    """Its share of the steps, one JSON line each."""
    logging.disable()  # a Kafka client that has lost its broker has much to say
    directory = Path(tempfile.mkdtemp(prefix="pagewake-soak-"))
    lane = Lane(
        directory,
        options.brokers,
        wires=not wire.lacking(),
        disks=not with_disks("host"),
        clocks=not with_faketime("host"),
    )
    failed = False
    try:
        worker = Worker(lane)
        for step in mine(options):
            done = worker.do(step)
            failed = failed or bool(done.failures)
            sys.stdout.write(msgspec.json.encode(done).decode() + "\n")
            sys.stdout.flush()
    finally:
        lane.close()
    if failed:
        sys.stderr.write(f"soak: logs in {directory}\n")
    else:
        shutil.rmtree(directory)
    return int(failed)


def mine(options: argparse.Namespace) -> Iterable[Step]:
    """Of all steps, those of this lane."""
    first, lanes = options.lane, options.lanes
    drawn = steps(options.seed, options.runs, options.brokers)
    if options.step is not None:
        return (step for step in islice(drawn, max(options.step)) if step.number in options.step)
    return islice(drawn, first, options.kills, lanes)


# ------------------------------------------------------------------ all of them


def all_lanes(options: argparse.Namespace) -> int:
    """Start them, print what they say, and what it comes to."""
    lanes = 1 if options.step is not None else options.lanes
    say(
        f"soak: kills {options.kills}, seed {options.seed}, lanes {lanes}, runs {options.runs},"
        f" brokers {options.brokers}"
    )
    for way, victim, why in skipped(options.brokers):
        say(f"skipped: {way} of {victim}: {why}")
    began_s = time.monotonic()
    found: queue.Queue[Done | int] = queue.Queue()
    processes = [start_lane(options, number, found) for number in range(lanes)]
    done: list[Done] = []
    codes: list[int] = []
    try:
        say(HEAD)
        while len(codes) < lanes:
            each = found.get()
            if isinstance(each, int):
                codes.append(each)
                continue
            done.append(each)
            say(row(each))
            for failure in each.failures:
                say(f"      FAILED: {failure}\n      again: {again(options, each)}")
    finally:
        for process in processes:
            process.terminate()
            process.wait()
        for line in summary(done, time.monotonic() - began_s):
            say(line)
    return int(any(codes) or any(each.failures for each in done))


def start_lane(
    options: argparse.Namespace, number: int, found: queue.Queue[Done | int]
) -> subprocess.Popen[bytes]:
    """A process in a network of its own, and a thread that hears it; its exit code comes last."""
    alone = [] if wire.lacking() else ["unshare", "--net"]
    command = [*alone, sys.executable, "-m", "tests.soak.soak", *sys.argv[1:], f"--lane={number}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)

    def hear() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            found.put(msgspec.json.decode(line, type=Done))
        found.put(process.wait())

    threading.Thread(target=hear, daemon=True).start()
    return process


def again(options: argparse.Namespace, done: Done) -> str:
    """The command that does a step again."""
    same = f"SEED={options.seed} RUNS={options.runs} BROKERS={options.brokers}"
    return f"make soak {same} STEP={done.number}"


HEAD = f"{'n':>5}  {'victim':9}  {'moment':8}  {'way':9}  {'recovery s':>10}  {'step s':>6}  runs"


def row(done: Done) -> str:
    """A step in a line."""
    return (
        f"{done.number:5}  {done.instance:9}  {done.moment:8}  {done.way:9}  "
        f"{done.recovery_s:10.1f}  {done.took_s:6.1f}  {done.runs}"
    )


def say(text: str) -> None:
    """A line, at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def summary(done: list[Done], took_s: float) -> Iterator[str]:
    """What came of it: recovery by victim and moment, and by victim and way."""
    digests = sum(each.digests for each in done)
    failures = sum(1 for each in done if each.failures)
    yield "\nrecovery in seconds, median / max (kills), by victim and moment"
    yield from matrix(done, [*MOMENTS, LATE], lambda each: each.moment)
    yield "\nby victim and way"
    yield from matrix(done, [way.name for way in WAYS], lambda each: each.way)
    yield ""
    yield (
        f"kills {len(done)} in {took_s:.0f} s ({took_s / max(1, len(done)):.1f} s each), "
        f"digests compared {digests}, steps failed {failures}"
    )


def matrix(
    done: list[Done], columns: Sequence[str], column_of: Callable[[Done], str]
) -> Iterator[str]:
    """Rows of victims; a dot where nothing was done."""
    yield "  ".join([f"{'':9}", *(f"{column:>15}" for column in columns)])
    for victim in VICTIMS:
        cells = [
            cell([each.recovery_s for each in done if (each.victim, column_of(each)) == place])
            for place in ((victim, column) for column in columns)
        ]
        yield "  ".join([f"{victim:9}", *(f"{text:>15}" for text in cells)])


def cell(took_s: list[float]) -> str:
    """Of a table."""
    if not took_s:
        return "."
    return f"{statistics.median(took_s):.1f} / {max(took_s):.1f} ({len(took_s)})"


if __name__ == "__main__":
    sys.exit(main())
