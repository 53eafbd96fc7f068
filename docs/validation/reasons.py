"""What stays off, and why, as far as the recordings tell: text of the page.

Each reason follows from rows of its tables; what does not is said to be likely.
"""

from __future__ import annotations

from typing import Final

REASONS: Final = """
The three facts that decide whether asynchronous page faults pay come about from what the kernel
does, at the costs that the recordings tell:

- **Slow synchronous faults.** A thread submits the reads of its window, and reclaims for it, before
  the attempt looks for its page; what is in by then was a synchronous fault. That is most of them,
  here as there: few slept, for a page that is polled for (`swap_poll`) or locked. The ones of 5 ms
  and more, which have most of the time, are direct reclaim by the vcpu thread.
- **Ready before re-entry.** The worker runs on the CPU that queued it, before the thread enters its
  guest, and finds pages that have come since the attempt. Where there are more vcpus than CPUs,
  another thread has the CPU next, and more pages come until this one has it again.
- **Completed to ready** is late where the thread is in a fault of another page, or has no CPU.

How often a page is in before its attempt is measured, of all windows; so the shares of asynchronous
faults say less than they seem to. What becomes of the others is not: it follows from the kernel.

What is off:

- **How long a page takes** (not present to completed, p50) where it is too short: its times are
  those of single pages that were polled for, drawn one by one. The emulated disk takes longer the
  more reads are under way.
- **Completed to ready, p10**: of a vcpu that runs on another CPU than its worker, READY needs no
  more than a kick here. The emulated CPU takes some 40 us for an interrupt between CPUs, which no
  cost here stands for.
- **The longest of all** are single reclaims of up to 750 ms; here each takes the average.
- **Repeated faults, and readies that are not the oldest.** The threads of the recordings share
  their memory and come upon pages that another one awaits; here each has its own. In seq-2v reads
  come back in order, as the disk serves them; here each draws its time.
- **Outstanding page-ins** follow from how many threads wait at a time, and threads that share
  their pages wait for the same ones.
- **Time of slow synchronous faults** follows from how long a batch of 32 pages takes: the average
  of a recording, whatever its pages are.
"""
