"""What stays off, and why, as far as the recordings tell: text of the page.

Each reason follows from rows of its tables; what does not is said to be likely.
"""

from __future__ import annotations

from typing import Final

REASONS: Final = """
- **Slow synchronous faults are far too few.** At most three in ten slept, for a page that is polled
  for or locked; these are what `swap_poll` stands for, and they have little of the time. Half and
  more never left their CPU. Two kinds: many of less than a millisecond, in which it is likely that
  the thread submits a window of reads one by one (asynchronous faults take as long until their
  attempt) and finds its own page there at the end; and a few of 5 ms and more, which have three
  quarters of the time and more and were on their CPU but where CPUs are short: direct reclaim, as
  recordings of the same host with `vmscan` events say. The second kind comes about here too, where
  a thread reclaims for its window and finds its page there; the first hardly does, as a fault that
  reads takes the CPU time of one that does not.
- **Ready before re-entry is too rare.** In nearly every case of the recordings a worker took the
  vcpu thread's CPU between the queueing of the work and the entry, and found the page there: a work
  item runs on the CPU that queues it, and wake-up preemption lets its worker in. From fault to
  entry goes by as much time as the quickest third of reads takes. Here workers take a
  CPU only as their page comes, so the guest is told a few microseconds after the attempt, and a
  page that comes in between is a rare one that another fault had begun to read.
- **Completed to ready is too quick, and its tail too short.** READY waits for its vcpu thread while
  that is in a fault of another page. The tail is made of the long faults above, so it is short for
  the same reason. The median is CPU time of the emulator, which the costs here do not have.
- **Repeated faults, and readies that are not the oldest.** The threads of the recordings share
  their memory and come upon pages that another one awaits; here each has its own. In seq-2v reads
  come back in order, as a throttled disk serves them; here each draws its time from those that were
  measured.
- **Outstanding page-ins** follow from how many faults are asynchronous, and how long READY takes.
"""
