"""Lines of recordings, in the shapes that kernels and tools print."""

from __future__ import annotations

import pytest

from pagewake.errors import DataError
from pagewake.recorded import names
from pagewake.recorded.lines import Item, Line, LineReader, Lost, Unreadable, Wanted
from pagewake.recorded.opening import decoded

WANTED = {"kvm_async_pf_ready": names.TOKEN_GVA, "kvm_entry": None}
READY = "token 0x9d001 gva 0x3b3e800"


def items(text: str, wanted: Wanted = WANTED) -> list[Item]:
    return list(LineReader("f", wanted).feed(text))


@pytest.mark.parametrize(
    ("line", "comm", "pid", "tgid", "cpu", "time_ns"),
    [
        pytest.param(
            f"       CPU 1/KVM-591     [001] d..1.   355.856402: kvm_async_pf_ready: {READY}",
            "CPU 1/KVM", 591, None, 1, 355_856_402_000, id="tracefs 6.1",
        ),
        pytest.param(
            f"            qemu-591   [001]   355.856402: kvm_async_pf_ready: {READY}",
            "qemu", 591, None, 1, 355_856_402_000, id="tracefs 2.6.38, trace-cmd report",
        ),
        pytest.param(
            f"       CPU 1/KVM-591     (    560) [001] .... 35.856402: kvm_async_pf_ready: {READY}",
            "CPU 1/KVM", 591, 560, 1, 35_856_402_000, id="record-tgid",
        ),
        pytest.param(
            f"       CPU 1/KVM-591     (-------) [001] .... 5.856402: kvm_async_pf_ready: {READY}",
            "CPU 1/KVM", 591, None, 1, 5_856_402_000, id="tgid unknown",
        ),
        pytest.param(
            f"       CPU 1/KVM-591     1d..2.   355.856402123: kvm_async_pf_ready: {READY}",
            "CPU 1/KVM", 591, None, 1, 355_856_402_123, id="trace-cmd report -l -t",
        ),
        pytest.param(
            f"       CPU 1/KVM   560/591   [001]   355.856402: kvm:kvm_async_pf_ready: {READY}",
            "CPU 1/KVM", 591, 560, 1, 355_856_402_000, id="perf script, pid and tid",
        ),
        pytest.param(
            f"       fc_vcpu 1   591 [001]   355.856402: kvm:kvm_async_pf_ready: {READY}",
            "fc_vcpu 1", 591, None, 1, 355_856_402_000, id="perf script",
        ),
        pytest.param(
            f"fc_vcpu 1   591 K   355.856402123:    1 kvm:kvm_async_pf_ready: {READY}",
            "fc_vcpu 1", 591, None, None, 355_856_402_123, id="perf script, other columns",
        ),
    ],
)  # fmt: skip
def test_who_when_and_what(
    line: str, comm: str, pid: int, tgid: int | None, cpu: int | None, time_ns: int
) -> None:
    (found,) = items(line + "\n")
    assert found == Line(time_ns, comm, pid, tgid, cpu, "kvm_async_pf_ready", READY, 1, "f")


@pytest.mark.parametrize(
    ("line", "cpu", "events"),
    [
        ("CPU:3 [LOST 17 EVENTS]", 3, 17),
        ("CPU:3 [LOST EVENTS]", 3, None),
        ("CPU:3 [17 EVENTS DROPPED]", 3, 17),
        ("CPU:3 [EVENTS DROPPED]", 3, None),
        ("  swapper     0/0     [003]    19.027672063: PERF_RECORD_LOST lost 17", 3, 17),
        ("  swapper     0     19.027672: PERF_RECORD_LOST_SAMPLES lost 17", None, 17),
        ("# entries-in-buffer/entries-written: 10/27   #P:2", None, 17),
    ],
)
def test_lost_events_are_told(line: str, cpu: int | None, events: int | None) -> None:
    assert items(line + "\n") == [Lost(0, cpu, events, 1, "f")]


@pytest.mark.parametrize(
    "line",
    [
        "# entries-in-buffer/entries-written: 27/27   #P:2",
        "",
        "cpus=2",
        "version = 6",
        "CPU 3 is empty",
        "##### CPU 1 buffer started ####",
        "  a-1     [000] d..1.  1.000001: <stack trace>",
        "  a-1     [000] d..1.  1.000001: do_idle <-cpu_startup_entry",
        "\tffffffff81073914 native_write_msr ([kernel.kallsyms])",
        " => kvm_arch_vcpu_ioctl_run",
        "  swapper  0/0  [000]  19.027672063: PERF_RECORD_MMAP2 1/1: [0x7f(0x2) @ 0 00:00 0 0]: /x",
    ],
)
def test_what_is_no_event_is_passed_over(line: str) -> None:
    assert items(line + "\n") == []


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("  a: b-1  [000] d..1.  1.000001: sched_switch: prev_comm=a: b\n", "sched_switch"),
        ("  a  1  [000]  1.000001:  {n} cycles:P:  ffff8107 f\n", "cycles:P"),
    ],
)
def test_what_nobody_reads_is_counted(line: str, name: str) -> None:
    reader = LineReader("f", WANTED)
    text = "".join(line.format(n=n) for n in range(20_000))
    assert list(reader.feed("# tracer: nop\n#\n" + text)) == []
    assert reader.others == {name: 20_000}


def test_a_comm_may_have_colons_blanks_and_bytes_of_no_text() -> None:
    comm = decoded(b"a: b-1 [0] \xff")
    (line,) = items(f" {comm}-17   [002] d..1.     1.000001: kvm_entry: vcpu 0\n")
    assert isinstance(line, Line)
    assert (line.comm, line.pid, line.text) == ("a: b-1 [0] \\xff", 17, "vcpu 0")


def test_perf_s_symbols_are_no_text() -> None:
    (line,) = items("a 1 [000] 1.000001:  kvm:kvm_entry: vcpu 0 ffffffff81000000 f+0x1 ([k])\n")
    assert isinstance(line, Line)
    assert line.text == "vcpu 0"


def test_vcpus_of_one_number_are_told_apart_by_their_names() -> None:
    head = "  CPU {}/KVM   560 [001]   1.000001: kvm:kvm_entry: vcpu {}\n".format
    found = [item for item in items(head(0, 0) + head(1, 1) + head(0, 0)) if isinstance(item, Line)]
    assert found[0].pid == found[2].pid != found[1].pid
    reader = LineReader("f", {"kvm_entry": None, "sched_switch": None})
    switch = "  CPU 0/KVM   560 [001]   1.000001: sched:sched_switch: prev_comm=x\n"
    assert len(list(reader.feed(switch + head(0, 0) + head(1, 1) + switch))) == 3


GOOD = "  a-1  [000] d..1.  1.000001: kvm_entry: vcpu 0\n"


@pytest.mark.parametrize(
    ("bad", "what"),
    [
        ("  a-1  [0token 0x9d001\n", "no line of a recording"),
        (GOOD.rstrip() + GOOD, "two lines in one"),
        (GOOD[:-4], "no end"),
        (GOOD.replace("1.", "-1."), '"-1.000001" is no time'),
        (GOOD.replace("1.000001", "18446744073709.000001"), "is no time"),
        (GOOD.replace("vcpu", "vc\0pu"), "no line of a recording"),
        (GOOD.replace("a-1", "a"), "no thread in front of kvm_entry"),
        (
            "  a-1  [000] d..1.  1.000001: kvm_async_pf_ready: token 0x9d001 gva 0x3b3x\n",
            'kvm_async_pf_ready with "token 0x9d001 gva 0x3b3x"',
        ),
        (GOOD.replace("a-1  ", "a 1"), "no thread in front of kvm_entry"),
    ],
)
def test_what_is_torn_is_unreadable(bad: str, what: str) -> None:
    line, torn = items(GOOD + bad)
    assert isinstance(line, Line)
    assert isinstance(torn, Unreadable)
    assert what in torn.what
    assert torn[2:] == (2, "f")


def test_a_stretch_of_torn_lines_is_told_once() -> None:
    found = items(GOOD + "x\n" * 1000 + GOOD + "x\n" + GOOD)
    assert [type(item) for item in found] == [Line, Unreadable, Line, Unreadable, Line]


def at(time: str) -> str:
    return f"  a-1  [000] d..1.  {time}: kvm_entry: vcpu 0\n"


def test_a_time_that_goes_back_by_little_is_that_of_the_line_before() -> None:
    reader = LineReader("f", WANTED)
    found = list(reader.feed(at("1.000100") + at("1.000050")))
    assert [item.time_ns for item in found] == [1_000_100_000, 1_000_100_000]
    assert reader.stepped_back == 1


def test_a_time_that_goes_back_by_much_is_told() -> None:
    first, back, then = items(at("9.000000") + at("1.000000"))
    assert isinstance(back, Unreadable)
    assert back.what == "the time goes back by 8.000000 s"
    assert (first.time_ns, then.time_ns) == (9_000_000_000, 1_000_000_000)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ((at("9.000000") + at("1.000000")) * 2000, "f:2002: the time has gone back 1001 times"),
        (at("179837489932924"), "f:1: 179837489932924 is a count of a clock, no time"),
        ("# nop latency trace v1.1.5 on 6.18\n", "f:1: the latency format has no times"),
        ("hello\n" * 2000, "f:1: no recording"),
        ("   t.dat: cpus=2\nhost.dat: cpus=2\n", "f:1: a report of several trace.dat files"),
    ],
    ids=["interleaved", "counter", "latency format", "prose", "several files"],
)
def test_what_is_no_recording_is_refused(text: str, what: str) -> None:
    with pytest.raises(DataError, match=what):
        items(text)
