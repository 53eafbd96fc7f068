"""What the words of an output mean: `pagewake explain`, and the page of the reference.

A word stands here as it is printed.  Where its rule is written at length, `see` names the page
below docs/.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

PROTOCOL = "explanation/protocol.md"
DETERMINISM = "explanation/determinism.md"
MODEL = "explanation/model.md"
FIT = "how-to/fit-a-recording.md"


class Word(NamedTuple):
    """A word, its meaning, other names for it, and where to read on."""

    name: str
    text: str
    also: tuple[str, ...] = ()
    see: str = ""


GLOSSARY = (
    # ------------------------------------------------------------------ the modes, and who is who
    Word("apf", "Asynchronous page fault: a page of the guest is in the host's swap, and the"
         " guest is told so that it runs another task meanwhile. `kernel.apf` is the mode: off,"
         " nonpv or pv.", ("asynchronous page fault", "async pf", "kernel.apf"), PROTOCOL),
    Word("off", "Mode without asynchronous page faults: the vcpu stands still until the page is"
         " there. It is the kernel before the series, which `benchmark` calls master.",
         ("master", "apf off mode"), PROTOCOL),
    Word("nonpv", "Mode in which the host has asynchronous page faults and the guest does not"
         " know them: the vcpu is halted for a page, and interrupts still get through.", (),
         PROTOCOL),
    Word("pv", "Mode in which the guest takes part: it is told of the absent page, parks the"
         " task and runs another one.", ("paravirtual",), PROTOCOL),
    Word("profile", "The rules of one generation of kernels; `scenarios --profiles` lists them.",
         ("kernel.profile",), "reference/scenario.md"),
    Word("bm", "The benchmark of the series (semantics 5.3), `bm -f 4 -w 4 -t 60`: four tasks that"
         " count (workers) beside four that touch memory of which part is swapped out (faulters),"
         " for 60 s.", ("bm -f 4 -w 4 -t 60", "benchmark"), "explanation/model.md"),
    Word("worker", "A task that counts and touches no memory: what it has done is `work`.",
         ("workers",)),
    Word("faulter", "A task that touches pages of which part is in swap.", ("faulters",)),
    Word("guest", "What runs in a VM: a kernel, and its tasks on vcpus.", ("guests", "vm"),
         PROTOCOL),
    Word("vcpu", "A virtual CPU of a guest; a thread of the host runs it.", ("vcpus",), PROTOCOL),
    Word("token", "The number that names a fault between host and guest; READY carries it again"
         " and wakes the task that sleeps on it.", ("woken by token",), PROTOCOL),
    # ------------------------------------------------------------------ a run as a whole
    Word("simulated", "Simulated time that the run covers, then the wall time it took and the"
         " ratio of the two. Results do not depend on wall time.", ("real time", "speed",
         "sim/wall")),
    Word("events", "What happened, one record each; they are what a log holds and what the"
         " digest is of.", (), "reference/events.md"),
    Word("windows", "Spans of simulated time in which host and guests advance together. How they"
         " are cut changes nothing in a result.", ("window",), DETERMINISM),
    Word("digest", "Hash of all events: equal digests, equal runs.", (), DETERMINISM),
    Word("seed", "Decides all randomness of a run.", ("scenario.seed",), DETERMINISM),
    Word("work", "Increments that the tasks of pattern `work` did. Tasks that touch memory do"
         " none: their progress is touches.", ("increments",)),
    Word("of first", "The figure on its left, relative to that of the first row.", ("ratio",)),
    Word("touches", "Touches of memory that tasks completed: the progress of tasks that touch"
         " pages.", ("touch",), "reference/result.md"),
    Word("request p99", "The time that 99 of 100 requests did not exceed, from when they came until"
         " they were served.", ("request p50", "response time"), "reference/result.md"),
    Word("passes", "How often a task went through its working set, or its trace, from end to"
         " end.", ("pass",), "reference/result.md"),
    Word("requests", "Requests that tasks served from end to end.", ("request",),
         "reference/result.md"),
    Word("expected", "A limit that the scenario sets its requests (`[[expect]]`), beside what came"
         " of it; where it was missed the exit code is 1.", ("MISSED", "expect"),
         "reference/scenario.md"),
    Word("finished", "Tasks that came to their end before the run did, and when.", ("ended",),
         "reference/result.md"),
    Word("killed", "Tasks of nested guests that got a token which their kernel does not know: to it"
         " that is a page fault at an address of nobody.", ("killed tasks", "TaskKilled"),
         "reference/events.md"),
    Word("PANICKED", "VMs whose guest's kernel panicked, when and why: they are over, whatever"
         " their tasks had to do. The exit code is 1.", ("panicked", "panics", "GuestPanicked"),
         "reference/events.md"),
    Word("within", "How VMs of one `[[vm]]` table differ: which of them came least and most far,"
         " and read fewest and most pages.", ("per VM",), "reference/result.md"),
    Word("of", "What the VMs of one `[[vm]]` table did together, where there are several tables.",
         ("per group",), "reference/result.md"),
    Word("interventions", "Events that the scenario asks for, such as a migration or a write that"
         " fails; one that befalls all VMs counts in each. `scenarios --events` lists what there"
         " is.", ("intervention",),
         "reference/scenario.md"),
    # ------------------------------------------------------------------ vcpu time
    Word("vcpu time", "What all vcpus did with their time, in shares that add up to 100 %. Names"
         " of tasks stand for time that went to them.", ("cpu",)),
    Word("blackout", "Vcpu time in which the vcpu's own thread waits for a page, a free frame or"
         " workers that run: nothing of it runs, not even its timer.", (), PROTOCOL),
    Word("halted", "The host stopped the vcpu for a page instead of telling the guest;"
         " interrupts get through, and end the halt early. In task_wait: the task could not be"
         " parked, so the guest halted its vcpu until READY.", (), PROTOCOL),
    Word("stood still", "The share of vcpu time in which a vcpu was of no use because of a page:"
         " blackout and halted together.", ("stand still", "standstill"), PROTOCOL),
    Word("idle", "Vcpu time in which the guest had nothing to run."),
    Word("steal", "Vcpu time in which the vcpu's thread could run and had no CPU of the host: the"
         " host has fewer (`host.cpus`) than threads that want one.", ("steal time", "host.cpus"),
         MODEL),
    Word("polling", "Vcpu time in which the vcpu's thread, about to block, looks for a while"
         " whether it may go on (`host.halt_poll`): it keeps its CPU, and need not be woken.",
         ("halt polling", "host.halt_poll", "halt_poll"), MODEL),
    Word("host cpus", "What the CPUs of the hosts did with their time, where `host.cpus` counts"
         " them: by kind of thread, and idle.", ("host_cpu",), MODEL),
    Word("kswapd", "The host's thread that reclaims ahead: where CPUs are counted it takes them"
         " from vcpus, and frames come free no sooner than it gets one.", ("reclaim_page",), MODEL),
    Word("emulator", "What the emulator of a VM does besides its vcpus (`vm.emulator`): QEMU's main"
         " loop and I/O threads.", ("vm.emulator", "QEMU"), MODEL),
    Word("interrupt", "Vcpu time that went to the guest's handlers of interrupts and traps.",
         ("interrupts",)),
    Word("exit", "The vcpu leaves guest mode, and its thread runs host code; as vcpu time, what"
         " that took.", ("exits",), PROTOCOL),
    Word("l1", "Vcpu time of the hypervisor in a nested set-up: guest of L0, host of L2.",
         ("l0", "l2"), PROTOCOL),
    # ------------------------------------------------------------------ faults
    Word("not present", "Faults on absent pages, by what the guest was told of them: injected,"
         " halted, untold or synchronous. First touches are not among them.", ("NOT_PRESENT",
         "PageNotPresent"), PROTOCOL),
    Word("injected", "The guest was told of the absent page, by an exception, and could run"
         " another task.", (), PROTOCOL),
    Word("untold", "A fault of which the guest could not be told, though it should have been:"
         " the word to it could not be written, or the host had no room to remember it.", (),
         PROTOCOL),
    Word("synchronous", "A fault that the vcpu's thread waited for itself, as without"
         " asynchronous page faults.", ("sync",), PROTOCOL),
    Word("joined", "A fault on a page that is being read already, for another vcpu: no second"
         " request to the device.", ("join",), PROTOCOL),
    Word("user fault", "A fault on a page that a task in user space brings: it waits there, or is"
         " told in the vcpu's ring or an exit.", ("UserFault", "user_space", "user space",
         "handler", "userfault"), "how-to/workloads.md"),
    Word("handler crash", "Who was to bring pages died, and what it had taken is lost: nobody"
         " says that they are there.", ("handler_crash", "UserFaultLost", "HandlerCrashed"),
         "how-to/workloads.md"),
    Word("page-ins", "Pages read from swap, or asked of a VM's source.",
         ("page-in", "page_ins", "major fault")),
    Word("pushed", "Pages that came without being asked for: behind a live migration, as a recorded"
         " working set of a snapshot, or read around a page of its file.",
         ("push", "prefetch", "PagesPushed"), MODEL),
    Word("first touches", "Touches of pages that were never written: nothing is read, a free"
         " frame is all that is needed.", ("first touch",), PROTOCOL),
    Word("waited for a frame", "First touches that found no free frame, and made their vcpu wait"
         " until the host had taken one back.", ("frame",)),
    Word("stock", "Free frames that the host hands to a VM ahead of use; what is not in it is"
         " waited for.", ("frames in stock",), MODEL),
    Word("evictions", "Frames that the host took back from VMs, to swap, so that some are free"
         " when they are needed.", ("eviction", "evicted", "swap-out"), MODEL),
    Word("in swap", "Pages out of memory at the end, and the memory of the host that they take"
         " where the medium is memory itself (zram).", ("in_swap",), MODEL),
    Word("double faults", "Faults on a page that the same vcpu waits for already: no new"
         " request, the vcpu is halted.", ("double fault",), PROTOCOL),
    # ------------------------------------------------------------------ sleeping and waking
    Word("task_wait", "The guest's function that parks a task until its token comes: it slept,"
         " found that READY had come first (early ready), or halted its vcpu.", (), PROTOCOL),
    Word("slept", "Tasks that were parked for an absent page.", ("asleep", "sleepers",
         "sleeper"), PROTOCOL),
    Word("early ready", "READY came before the task had begun to wait: it went on at once.",
         ("early_ready",), PROTOCOL),
    Word("woken by", "Tasks woken, by what woke them: token, broadcast or offline.",
         ("wakes",), PROTOCOL),
    Word("broadcast", "A READY without a token: it wakes everybody who fell asleep on that CPU."
         " Sent when the feature is turned on, at boot, hotplug and after migration.", (),
         PROTOCOL),
    Word("offline", "The vcpu went offline: its sleepers were woken, or it was halted for that.",
         (), PROTOCOL),
    Word("slept for", "How long woken tasks had slept; p50 is the time that half of them did not"
         " exceed.", ("slept p50", "p50", "p90", "p99", "p99.9", "max", "percentile")),
    Word("ready", "The host's word that a page is there; it wakes who sleeps on its token.",
         ("PageReady", "page ready"), PROTOCOL),
    Word("never ready", "Pages that were announced as absent and never as ready: the word could"
         " not be written, was not due, or was withdrawn. Who slept on one sleeps on, unless a"
         " broadcast follows.",
         ("silent", "READYs not sent", "withdrawn", "not sent"), "reference/events.md"),
    Word("dummies", "Nodes that stand in the guest for a READY that found nobody waiting.",
         ("dummy",), PROTOCOL),
    Word("inserted", "Dummies that were made.", (), PROTOCOL),
    Word("consumed", "Dummies that the wait of their token found.", (), PROTOCOL),
    Word("leaked", "Dummies that something other than their wait unlinked: they are never freed.",
         ("dummies leaked",), PROTOCOL),
    Word("left", "Dummies that still stand at the end: their wait never came.",
         ("dummies left",), PROTOCOL),
    Word("journal", "What the shards write of what happened and why; nothing of a run depends on"
         " it. `--journal` says how much of it is kept.", (), "reference/events.md"),
    Word("unresolved", "Tasks asleep at the end whose page is not being read: nothing will wake"
         " them. `none of 8 asleep` means that 8 sleep, and all are waited for.",
         ("lost wake-up", "lost wake-ups", "lost wakeup"), PROTOCOL),
    # ------------------------------------------------------------------ halts
    Word("halts", "Halts of vcpus, by why; a guest's own HLT is among them.", ("halt",),
         PROTOCOL),
    Word("apf off", "Halted for a page because the guest has not turned asynchronous page faults"
         " on.", ("apf_off",), PROTOCOL),
    Word("kernel mode", "Halted for a page because the fault was in the guest's kernel, where a"
         " task may not be parked.", ("kernel_mode", "cpl 0"), PROTOCOL),
    Word("protected", "Halted for a page because the host cannot see whether the guest is in its"
         " kernel.", ("protected guest", "SEV-ES"), PROTOCOL),
    Word("no paging", "Halted for a page because the guest had paging off.", ("no_paging",),
         PROTOCOL),
    Word("double fault", "Halted because the vcpu faulted again on a page that it waits for.",
         ("double_fault",), PROTOCOL),
    Word("write failed", "The word that the guest reads could not be written: it was told"
         " nothing.", ("write_failed", "AreaWriteFails"), PROTOCOL),
    Word("unknown", "Halted for a page in a recording, which does not show why.", (), FIT),
    Word("stale", "Halted for a page that had come by then: only an interrupt ends the halt.",
         ("stale halt",), PROTOCOL),
    Word("sipi", "A vcpu that was restored without its mp_state waits for INIT and SIPI, which"
         " nobody sends: the guest thinks that it runs.", ("mp_state",), "reference/events.md"),
    Word("hlt", "Halted by the guest itself: its idle loop, or a task_wait that could not park.",
         ("HLT",), PROTOCOL),
    # ------------------------------------------------------------------ nested guests
    Word("nested exits", "Exits of guests of guests, by who handled them: host, continue or"
         " done.", ("routes", "route"), PROTOCOL),
    Word("host", "The machine that runs the VMs and swaps their pages. Of a nested exit: it was"
         " kept by the hypervisor that routes, whatever its guest intercepts.", (), PROTOCOL),
    Word("continue", "A nested exit that was kept because the guest does not intercept it.",
         (), PROTOCOL),
    Word("done", "A nested exit that became one of the guest hypervisor: it handles it.", (),
         PROTOCOL),
    Word("nested", "Halted for a page because a guest of the guest ran.", (), PROTOCOL),
    # ------------------------------------------------------------------ the host, clusters, load
    Word("overcommit", "Memory of the VMs relative to what the host gives them.", ("limit",),
         MODEL),
    Word("lag", "How far a service is behind the newest record of its topics.", (),
         "reference/metrics.md"),
    Word("service", "A process of a cluster: host, guest or nested.", ("instance", "shard"),
         "how-to/scale-the-cluster.md"),
    Word("hosts", "Simulated hosts; each swaps for VMs of its own.", (), MODEL),
    Word("state", "What a run or a service does now: running, paused, waiting, replaying, ended.",
         ("running", "paused", "waiting", "replaying", "lost"), "how-to/operate-the-cluster.md"),
    Word("knee", "The size beyond which more vcpus bring no more faults a second worth their"
         " cost.", (), "how-to/scale-the-cluster.md"),
    Word("faults/s", "Faults of all guests for each second of wall time.", ("events/s",)),
    Word("per window", "Faults in one window: what a round through Kafka is shared by."),
    Word("CPU s/Mfault", "CPU seconds that a million faults took.", ("KiB/vcpu",
         "Kafka B/fault")),
    Word("bound by", "What more processes would not change, or would: round trips through Kafka, of"
         " which each simulated host has one for a window; services of a kind, which more of them"
         " relieve; cores.", ("round trips", "host services", "guest services", "nested services"),
         "how-to/scale-the-cluster.md"),
    Word("pays at most", "How many processes of a kind make a run faster; one more has no simulated"
         " host to itself, or waits for round trips.", (), "how-to/scale-the-cluster.md"),
    Word("takes", "How long a run lasts on a cluster at least, by the wall clock.", (),
         "how-to/scale-the-cluster.md"),
    Word("network/s", "Bytes into and out of brokers: what is written, what the other copies fetch,"
         " what services read.", ("copies",), "how-to/scale-the-cluster.md"),
    Word("on kafka", "What a run took of the brokers: records and bytes for each fault."),
    # ------------------------------------------------------------------ what is in a recording
    Word("asynchronous", "Faults of a recording that went their own way: the guest was told, or"
         " its vcpu was halted until READY; as a share of all faults that waited for a page.",
         ("async share",), FIT),
    Word("not so", "Faults that waited and were not asynchronous: synchronous, in the vcpu thread,"
         " from 0.3 ms on; repeated, on a page that the vcpu awaited already; refused, for 64 were"
         " outstanding or there was no memory.", ("repeated", "refused"), FIT),
    Word("submission", "From the start of an asynchronous fault until the guest is told, which the"
         " vcpu thread spends in the host.", (), FIT),
    Word("completion", "From the start of an asynchronous fault until a worker says that the page"
         " is there: the device.", (), FIT),
    Word("delivery", "From a page being there to its READY: until the vcpu thread looks.", (), FIT),
    Word("whole", "From the start of an asynchronous fault to its READY.", (), FIT),
    Word("outstanding", "Asynchronous faults between their start and their READY.", (), FIT),
    Word("gained", "Vcpu time in which a guest ran although it had been told of a page that was not"
         " there yet. With what its vcpus stood still all the same, for pages, it is the least that"
         " they would have been blacked out without asynchronous page faults.",
         ("blacked-out vcpu seconds",), FIT),
    Word("waits", "How long the tasks of a guest that recorded itself slept for a page."
         " A wait returns at once if its wake came before it.", (), FIT),
    # ------------------------------------------------------------------ what is in a trace
    Word("expected page-ins", "What a memory of a limit reads again if it evicts the page that was"
         " used least recently: the miss-ratio curve of a trace.", ("miss ratio curve", "mrc",
         "curve"), "how-to/bring-a-trace.md"),
    Word("reuse", "How many other pages a trace uses between two uses of a page: its LRU stack"
         " distance.", ("reuse distance", "stack distance"), "how-to/bring-a-trace.md"),
    Word("working set", "The pages touched in a part of a trace, of which there are 32 of one"
         " length.", (), "how-to/bring-a-trace.md"),
)  # fmt: skip


def names_of(word: Word) -> tuple[str, ...]:
    """All names of a word, its own first."""
    return (word.name, *word.also)


def meanings(asked: str, glossary: Iterable[Word] = GLOSSARY) -> list[Word]:
    """The words of that name, in any case; `_` and `-` are spaces."""
    return [word for word in glossary if _plain(asked) in map(_plain, names_of(word))]


def _plain(name: str) -> str:
    return " ".join(name.lower().replace("_", " ").replace("-", " ").split())
