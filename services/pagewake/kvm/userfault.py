"""Pages that user space brings: the handler task of one VM, and what KVM shares with it.

Where a VM's memory is filled from outside (restored from a snapshot, post-copy), KVM can make an
asynchronous fault of it that user space completes (semantics 6.1).  The handler is one task of L0
that works through a queue: take a request, have the page read, copy it in and say that it is there.
It sleeps when there is nothing to do, and arms the notification before that.

KVM tells it of a fault in the vcpu's ring, or the VMM does after an exit.  Only what it has *taken*
is its own: if it crashes, that is lost, while the rings and what the VMM wants wait for the next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mypy_extensions import mypyc_attr

from pagewake.events.ids import Gfn, Token
from pagewake.events.types import PageRequested, UserFaultLost
from pagewake.kvm.config import Userfault
from pagewake.kvm.page_table import ABSENT, IN_FLIGHT, PRESENT
from pagewake.kvm.ports import OP_HANDLER, OP_JOINED
from pagewake.simtime.randomness import Draws
from pagewake.simtime.state import Saved

if TYPE_CHECKING:
    from pagewake.kvm.vm import Vm


@mypyc_attr(allow_interpreted_subclasses=True, acyclic=True)
class Request(Saved):
    """One vcpu's wish for a page; without a token its thread waits in user space.

    `ring`: it stands in the vcpu's ring.  `copy`: the page is there, and is to be copied in.
    """

    __slots__ = ("copy", "epoch", "gfn", "ring", "token", "vcpu")

    def __init__(
        self, vcpu: int, gfn: Gfn, token: Token | None, epoch: int, ring: bool, copy: bool = False
    ) -> None:
        self.vcpu = vcpu
        self.gfn = gfn
        self.token = token
        self.epoch = epoch
        self.ring = ring
        self.copy = copy


@mypyc_attr(allow_interpreted_subclasses=True)
class Handler(Saved):
    """See the module.  `gen` voids the steps of a process that has crashed.

    `fetching` has the pages that are on their way and who is told when they are in; a page that
    nobody waits for any more is thrown away as it comes.
    """

    __slots__ = (
        "armed",
        "at_hand",
        "awake",
        "costs",
        "draws",
        "drawn",
        "fetching",
        "gen",
        "in_ring",
        "queue",
        "vm",
    )

    def __init__(self, vm: Vm, costs: Userfault) -> None:
        self.vm = vm
        self.costs = costs
        self.draws = Draws(vm.config.seed, f"{vm.name}/handler")
        self.drawn = 0
        self.armed = True
        self.awake = False
        self.gen = 0
        self.in_ring = [0] * vm.config.vcpus
        self.queue: list[Request] = []
        self.at_hand: Request | None = None
        self.fetching: dict[Gfn, list[Request]] = {}

    # ------------------------------------------------------------------ what KVM and the VMM do

    def has_room(self, vcpu: int) -> bool:
        """The vcpu's ring takes another entry."""
        return self.in_ring[vcpu] < self.vm.switches.user_apf_room

    def signal(self) -> bool:
        """Whether an entry of the ring makes KVM signal the eventfd; it disarms it."""
        due = self.armed or not self.vm.switches.user_apf_armed
        self.armed = False
        return due

    def hear(self, at_ns: int, request: Request) -> None:
        """Something to do, from a ring or the VMM; a handler that sleeps wakes up."""
        if request.ring:
            self.in_ring[request.vcpu] += 1
        self.queue.append(request)
        if not self.awake:
            self.awake = True
            self._plan(at_ns + self.costs.signal_ns + self.costs.wake_ns, None)

    def resolves(self, gfn: Gfn) -> bool:
        """Whether user space has this page at hand, and takes it from there: a frame is used."""
        local = self.costs.local
        if local == 0.0 or not self.vm.stock or gfn in self.fetching:
            return False
        self.drawn += 1
        return self.draws.unit(self.drawn) < local

    def restart_rings(self) -> None:
        """The vcpus are new after a migration, and so are their rings."""
        self.in_ring = [0] * len(self.in_ring)

    # ------------------------------------------------------------------ what the handler does

    def step(self, at_ns: int, arg: tuple[int, Request | None]) -> None:
        """The task is done with a request, or wakes up; it goes on with the next, or sleeps."""
        gen, request = arg
        if gen != self.gen:
            return
        self.at_hand = None
        if request is not None:
            if request.copy:
                self._arrives(at_ns, request.gfn)
            else:
                if request.ring and request.epoch == self.vm.epoch:
                    self.in_ring[request.vcpu] -= 1
                self._takes(at_ns, request)
        if not self.queue:
            self.awake = False
            self.armed = True
            return
        following = self.at_hand = self.queue.pop(0)
        took_ns = self.costs.copy_ns if following.copy else self.costs.take_ns
        self._plan(at_ns + took_ns, following)

    def _takes(self, at_ns: int, request: Request) -> None:
        """Have the page read, unless it is on its way or in memory already."""
        vm = self.vm
        gfn = request.gfn
        waiting = self.fetching.get(gfn)
        there = vm.pages.state[gfn] >= PRESENT
        local = not there and waiting is None and self.resolves(gfn)
        self.ask(at_ns, request, joined=there or waiting is not None, served=local)
        if there:
            self._tell(at_ns, request)
            return
        if waiting is not None:
            waiting.append(request)
            return
        self.fetching[gfn] = [request]
        if local:
            self.read(at_ns, gfn)

    def ask(self, at_ns: int, request: Request, joined: bool, served: bool) -> None:
        """The page is asked for: of the host's device, or, `served`, a frame for what is here."""
        vm, gfn = self.vm, request.gfn
        vm.tell(
            PageRequested, at_ns, request.vcpu, gfn, request.epoch, request.token, joined, served
        )
        if not joined:
            assert vm.pages.state[gfn] == ABSENT, f"{vm.name}: gfn {gfn} is asked for again"
            vm.pages.state[gfn] = IN_FLIGHT
        if served:
            vm.use_stock(at_ns)

    def read(self, at_ns: int, gfn: Gfn) -> None:
        """What a page holds has come: it is copied in next, if somebody waits for it."""
        if not self.fetching[gfn]:
            del self.fetching[gfn]
            self.vm.pages.state[gfn] = ABSENT
            return
        self.queue.append(Request(0, gfn, None, self.vm.epoch, ring=False, copy=True))
        if not self.awake:
            self.awake = True
            self.armed = False
            self._plan(at_ns + self.costs.wake_ns, None)

    def _arrives(self, at_ns: int, gfn: Gfn) -> None:
        """The page is in memory: say so to all who are known to want it."""
        self.vm.pages.arrive(gfn)
        for request in self.fetching.pop(gfn):
            self._tell(at_ns, request)

    def _tell(self, at_ns: int, request: Request) -> None:
        """Complete one request: a hop through KVM's workqueue if it came by a ring."""
        vm = self.vm
        vm.pages.hold(request.gfn)
        vm.joining += 1
        hop_ns = vm.costs.worker_hop_ns if request.ring else 0
        arg = (request.gfn, request.token, request.epoch)
        vm.push(at_ns + hop_ns, request.vcpu, -1, OP_JOINED, arg)

    def resolved(self, at_ns: int, gfn: Gfn) -> None:
        """The VMM has copied in a page that it had at hand itself."""
        self._arrives(at_ns, gfn)

    # ------------------------------------------------------------------ crash

    def crash(self, at_ns: int, for_ns: int, keeps: bool) -> None:
        """The process dies; the next one starts after `for_ns`, and knows the rings.

        If it `keeps` a journal, it knows too what the dead one had taken, and does it again.
        """
        self.gen += 1
        if self.at_hand is not None:
            self.queue.insert(0, self.at_hand)
            self.at_hand = None
        if not keeps:
            self._forget(at_ns)
        self.awake = True
        self._plan(at_ns + for_ns, None)

    def _forget(self, at_ns: int) -> None:
        """What was taken and not completed is lost; what a VMM waits for itself, it asks again."""
        taken: list[Request] = []
        for waiting in self.fetching.values():
            taken += waiting
            waiting.clear()
        for copy in self.queue:
            if copy.copy:
                del self.fetching[copy.gfn]
                self.vm.pages.state[copy.gfn] = ABSENT
        for request in taken:
            if request.token is not None:
                self._lose(at_ns, request)
        asked_again = [request for request in taken if request.token is None]
        self.queue = asked_again + [request for request in self.queue if not request.copy]

    def _lose(self, at_ns: int, request: Request) -> None:
        token = request.token
        assert token is not None
        vcpu = self.vm.vcpus[request.vcpu]
        if request.epoch != self.vm.epoch or not vcpu.apf.awaits(token, request.gfn):
            return
        work = vcpu.apf.queue[token]
        work.lost = True
        if work.told:
            self.vm.never_ready("handler_crash")
        vcpu.note(UserFaultLost, at_ns, request.gfn, token)

    def _plan(self, at_ns: int, request: Request | None) -> None:
        self.vm.push(at_ns, 0, -1, OP_HANDLER, (self.gen, request))
