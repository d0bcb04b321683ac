# SPDX-License-Identifier: Apache-2.0
"""The loop keeps its grid, skips what it missed, and says when it dies."""

from __future__ import annotations

import threading

import pytest
from harness import wait_until

from levine_policy_node.core.units import SteadyNs
from levine_policy_node.ros.clocks import steady_now
from levine_policy_node.ros.deadline_loop import DeadlineLoop, GapStatistics, percentiles_ms

PERIOD_NS = 5_000_000


class Cycle:
    """Calls `tick(due)` at the deadline, and `think(due)` when deciding."""

    def __init__(self, tick, think=lambda due: None):
        self._tick, self._think, self.taken = tick, think, 0

    def take(self) -> int:
        self.taken += 1
        return self.taken

    def decide(self, taken: int, due_ns: SteadyNs):
        self._think(due_ns)
        return taken, due_ns

    def renew(self, taken: int) -> int | None:
        return None

    def send(self, decided):
        assert decided[0] == self.taken
        self._tick(decided[1])


def make_loop(tick, failures=None, think=lambda due: None) -> DeadlineLoop:
    failures = failures if failures is not None else []
    return DeadlineLoop(0.005, Cycle(tick, think), lambda: failures.append(1))


def test_nothing_is_sent_before_its_deadline_however_early_it_is_decided():
    times: list[int] = []
    early: list[int] = []
    loop = make_loop(
        lambda due: times.append(steady_now()), think=lambda due: early.append(due - steady_now())
    )
    begun = steady_now()
    loop.start()
    wait_until(lambda: len(times) >= 40, what="40 ticks")
    loop.stop()
    assert all(t - begun >= (k + 1) * PERIOD_NS for k, t in enumerate(times))
    assert max(early) > 0
    report = loop.report()
    assert report.ticks == len(times)
    assert 0.0 <= report.lateness_p50_ms <= report.lateness_p99_ms <= report.lateness_max_ms


def test_a_stall_is_skipped_and_counted_and_not_caught_up_in_a_burst():
    times: list[int] = []
    hold = threading.Event()

    def tick(now: SteadyNs) -> None:
        times.append(now)
        if len(times) == 3:
            hold.wait(0.042)

    loop = make_loop(tick)
    loop.start()
    wait_until(lambda: len(times) >= 20, what="20 ticks")
    loop.stop()
    assert loop.report().missed >= 8
    # After the stall ticks are on the grid again; a tick may be late by less than a period.
    after = times[3:]
    assert all(t - after[0] >= (k - 1) * PERIOD_NS for k, t in enumerate(after))


def test_what_came_too_late_is_decided_again_for_the_present():
    sent: list[tuple[int, int]] = []
    decided: list[int] = []

    def think(due: SteadyNs) -> None:
        decided.append(due)
        if len(decided) == 3:
            threading.Event().wait(0.05)

    loop = make_loop(lambda due: sent.append((due, steady_now())), think=think)
    loop.start()
    wait_until(lambda: len(sent) >= 10, what="10 ticks")
    loop.stop()
    assert len(decided) > len(sent)
    assert decided[2] not in [due for due, _ in sent]


def test_what_arrives_before_the_deadline_is_decided_with_once_more():
    sent: list[tuple[str, int]] = []

    class Late(Cycle):
        """Everything arrives after the first decision."""

        def take(self) -> str:
            return "early"

        def renew(self, taken: str) -> str | None:
            assert taken == "early"
            return "early and late" if len(sent) % 2 else None

        def decide(self, taken: str, due_ns: SteadyNs):
            return taken, due_ns

        def send(self, decided):
            sent.append((decided[0], steady_now() - decided[1]))

    loop = DeadlineLoop(0.005, Late(lambda due: None), lambda: None)
    loop.start()
    wait_until(lambda: len(sent) >= 40, what="40 ticks")
    loop.stop()
    assert all(late_ns >= 0 for _, late_ns in sent)
    # A machine that is held up has no time for a second decision.
    assert {taken for taken, _ in sent[::2]} == {"early"}
    assert "early and late" in {taken for taken, _ in sent[1::2]}


def test_stop_ends_the_wait_at_once_and_may_be_called_again():
    loop = DeadlineLoop(60.0, Cycle(lambda due: None), lambda: None)
    loop.start()
    assert loop.alive
    begun = steady_now()
    loop.stop()
    loop.stop()
    assert not loop.alive
    assert steady_now() - begun < 30 * 1_000_000_000


def test_stop_before_start_is_harmless():
    make_loop(lambda now: None).stop()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_tick_that_raises_ends_the_loop_and_reports():
    failures: list[int] = []

    def tick(now: SteadyNs) -> None:
        raise ZeroDivisionError

    loop = make_loop(tick, failures)
    loop.start()
    wait_until(lambda: bool(failures), what="the failure report")
    wait_until(lambda: not loop.alive, what="the end of the loop")


def test_gaps_do_not_count_across_a_pause():
    gaps = GapStatistics(0.010)
    for t in (0, 10, 20, 33):
        gaps.sent(SteadyNs(t * 1_000_000))
    gaps.pause()
    gaps.sent(SteadyNs(900_000_000))
    gaps.sent(SteadyNs(911_000_000))
    assert gaps.max_ms() == pytest.approx(13.0)
    assert gaps.jitter_p99_ms() == pytest.approx(3.0, abs=0.2)


def test_percentiles_of_nothing_are_zero():
    assert percentiles_ms([]) == (0.0, 0.0, 0.0)
