# SPDX-License-Identifier: Apache-2.0
"""Nothing unsafe is ever sent; and the judge of that finds what is unsafe, and shares no code."""

from __future__ import annotations

import ast
import copy
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from levine_policy_node.bench import unsafe_oracle, unsafe_polynomial
from levine_policy_node.bench.unsafe import judge, options_of, run_campaign
from levine_policy_node.bench.unsafe_gate import BATCH, run_gate_campaign
from levine_policy_node.bench.unsafe_oracle import (
    Bounds,
    Motion,
    Verdict,
    at,
    judge_commands,
    judge_seam,
    judge_windows,
)
from levine_policy_node.bench.unsafe_streams import SEQUENCES, Life, Sent
from levine_policy_node.core.modes import ACTS, Event, Mode
from levine_policy_node.core.supervision import Inputs
from levine_policy_node.core.units import StampNs
from levine_policy_node.robot import load_robot, robots_directory

MS = 1_000_000
BOUNDS = Bounds(*(np.array([x]) for x in (-1.0, 1.0, 2.0, 8.0, 80.0)))
ROBOTS = sorted(path.stem for path in robots_directory().glob("*.yaml"))


# The judge.


def test_the_judge_shares_no_code_with_what_it_judges():
    imported: set[str] = set()
    for module in (unsafe_oracle, unsafe_polynomial):
        nodes = list(ast.walk(ast.parse(Path(module.__file__).read_text())))
        imported |= {a.name for node in nodes if isinstance(node, ast.Import) for a in node.names}
        imported |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
    own = {"levine_policy_node.bench.unsafe_polynomial"}
    standard = {"__future__", "dataclasses", "itertools"}
    assert imported == standard | {"numpy", "numpy.typing"} | own


def motion(coefficients: list[float], duration_ms: int = 100, knots: int = 5) -> Motion:
    """A polynomial of time [s], exact at any number of knots; it need not end at rest."""
    knots_ns = np.linspace(0, duration_ms * MS, knots).astype(np.int64)
    p = np.polynomial.Polynomial(coefficients)
    kinds = (p, p.deriv(1), p.deriv(2))
    return Motion(0, knots_ns, *(kind(knots_ns * 1e-9)[:, None] for kind in kinds))


def worst(window: Motion) -> dict[str, float]:
    verdict = Verdict()
    judge_windows([window], BOUNDS, verdict, "here")
    return verdict.worst


@pytest.mark.parametrize(
    ("kind", "coefficients"),
    [
        # Each reaches its limit inside the segments, not at a knot.
        ("position", [1.0 - 0.5 * 0.037**2, 0.037, -0.5]),
        ("velocity", [0.0, 2.0 - 0.5 * 80 * 0.037**2, 0.5 * 80 * 0.037, -80 / 6.0]),
        ("acceleration", [0.0, 0.0, 0.5 * (8.0 - 20 * 0.037), 40 / 6.0, -20 / 0.037 / 12.0]),
        ("jerk", [0.0, 0.0, 0.0, 60 / 6.0, 20 / 0.037 / 12.0, -20 / 0.037**2 / 60.0]),
    ],
)
@pytest.mark.parametrize("more", [-1e-6, 0.0, 1e-6])
def test_an_excess_of_a_millionth_is_found_wherever_it_is(kind, coefficients, more):
    reached = np.array(coefficients)
    order = ("position", "velocity", "acceleration", "jerk").index(kind)
    # `more` of the derivative, and nothing else of that kind.
    reached[order] += more / (1.0, 1.0, 2.0, 6.0)[order]
    found = worst(motion(reached.tolist()))[kind]
    rounding = 1e-6 if kind == "jerk" else 1e-9
    assert abs(found - more + 1e-9) < 0.5e-6 + rounding
    assert (found > 0.0) == (more > 0.0)


def test_what_is_not_finite_not_in_order_or_not_at_rest_is_found():
    good = motion([0.2])
    assert max(worst(good).values()) <= 0.0
    assert worst(replace(good, positions=good.positions * np.nan))["finite"] == np.inf
    assert worst(replace(good, accelerations=good.accelerations + np.inf))["finite"] == np.inf
    assert worst(replace(good, knots_ns=good.knots_ns[::-1]))["finite"] == np.inf
    assert worst(motion([0.2, 1e-6]))["rest"] > 0.0
    verdict = Verdict()
    judge_windows([good, motion([0.2, 0.1]), motion([5.0])], BOUNDS, verdict, "here")
    assert (verdict.windows, verdict.unsafe) == (3, 2)
    assert verdict.first.startswith("here: ")


def test_a_jump_between_windows_is_found():
    old, later = motion([0.0, 1.0], 100), motion([0.0, 1.0], 200)
    for new, jumps in (
        (later, 0),
        (replace(later, positions=later.positions + 1e-7), 1),
        (replace(later, velocities=later.velocities * 1.001), 1),
    ):
        verdict = Verdict()
        judge_seam(old, new, [40 * MS, 60 * MS], verdict, "here")
        assert verdict.unsafe == jumps
    assert at(old, 500 * MS)[1] == 0.0
    assert at(old, -5 * MS)[0] == 0.0


def test_a_step_between_commands_is_found():
    times = [k * 10 * MS for k in range(8)]
    cases = {
        "": 0.1 + 2.0 * np.arange(8) * 0.01,
        "position": np.full(8, 1.0 + 1e-8),
        "velocity": 0.1 + 2.001 * np.arange(8) * 0.01,
        "acceleration": 4.01 * (np.arange(8) * 0.01) ** 2,
        "jerk": 81 / 6 * (np.arange(8) * 0.01) ** 3,
        "finite": np.where(np.arange(8) == 5, np.nan, 0.1),
    }
    for kind, positions in cases.items():
        verdict = Verdict()
        judge_commands(times, [np.array([p]) for p in positions], BOUNDS, verdict, "here")
        assert {k for k, v in verdict.worst.items() if v > 0.0} == ({kind} if kind else set())
        assert (verdict.unsafe > 0) == bool(kind)
    verdict = Verdict()
    judge_commands([0], [np.array([0.5])], BOUNDS, verdict, "here")
    assert verdict.unsafe == 0


# What it judges.


def test_random_sequences_send_nothing_unsafe():
    found = run_campaign(len(ROBOTS) * 2 * SEQUENCES, seed=5)
    assert found.whole.first == ""
    assert found.whole.unsafe == 0
    assert found.tripped == 0
    assert set(found.verdicts) == {load_robot(name).name for name in ROBOTS}
    assert found.moving > found.ticks / 5
    assert found.whole.windows > 300
    results = found.results()
    assert results["sequences"] == found.sequences
    assert set(results["robots"]) == set(found.verdicts)


# A brake after a step of the clock went on at full speed after a tick so late that an arm that is
# sent single positions had come to a stand.
@pytest.mark.parametrize("life", [63, 157, 333, 365])
def test_lives_in_which_something_unsafe_was_sent(life):
    found = run_campaign(SEQUENCES, 0, first=life * SEQUENCES)
    assert found.whole.first == ""


def test_after_a_message_to_come_to_rest_the_next_window_begins_there():
    """The window before it is followed no more, and was still moving then."""
    found = run_campaign(SEQUENCES, 0, first=1319 * SEQUENCES)
    assert found.whole.first == ""


def test_the_gate_lets_nothing_unsafe_pass_that_no_shaper_made():
    found = run_gate_campaign(len(ROBOTS) * 2 * BATCH, seed=5)
    assert found.whole.first == ""
    assert found.whole.unsafe == 0
    assert set(found.verdicts) == {load_robot(name).name for name in ROBOTS}
    # Not because it lets nothing pass, and what passes is at the limits.
    assert 0.2 < found.refused / found.sequences < 0.8
    assert found.whole.commands > found.sequences
    for kind in ("position", "velocity", "acceleration", "jerk"):
        assert found.whole.worst[kind] > -1e-8, kind
    results = found.results()
    assert results["refused"] == found.refused
    assert set(results["robots"]) == set(found.verdicts)


def test_a_campaign_can_be_split_and_continued():
    whole, first, rest = run_campaign(50, 9), run_campaign(25, 9), run_campaign(25, 9, first=25)
    assert whole.ticks == first.ticks + rest.ticks
    parts = Verdict()
    parts.merge(first.whole)
    parts.merge(rest.whole)
    assert parts == whole.whole
    whole, first = run_gate_campaign(2 * BATCH, 9), run_gate_campaign(BATCH, 9)
    first.merge(run_gate_campaign(BATCH, 9, first=BATCH))
    assert first.verdicts == whole.verdicts
    assert first.refused == whole.refused


@lru_cache
def moved(name: str, *, windows: bool) -> tuple[Life, list[Sent]]:
    """A life in which the policy moves the arm, with its last commands."""
    life = Life(options_of(load_robot(name), windows=windows), np.random.default_rng(3))
    life.position = 0.5 * (life.options.limits.lower + life.options.limits.upper)
    sent: list[Sent] = []
    towards = {Mode.DISARMED: Event.ARM, Mode.ARMED: Event.ENGAGE, Mode.PAUSED: Event.RESUME}
    for k in range(200):
        mode = life.state.mode.mode
        chunks = (life.wave(0.0, 0.5),) if k % 10 == 0 else ()
        acts = (towards[mode],) if chunks and mode in towards else ()
        sent.append(life.tick(Inputs(life.offset_ns, chunks=chunks), acts))
        if mode is Mode.POLICY and np.abs(life.velocity).max() > 0.05:
            break
    assert life.state.mode.mode is Mode.POLICY
    return life, sent


numbers = st.floats(width=64) | st.sampled_from([0.0, -0.0, 5e-324, 1e308, np.inf, np.nan])
small = st.floats(-0.1, 0.1)


@st.composite
def commands(draw):
    """One tick's worth: a chunk with numbers of its own, a person's target, acts, a late tick."""
    knots = draw(st.integers(2, 12))
    lengths_us = st.sampled_from([1, 400, 10_000, 50_000])
    steps = draw(st.lists(lengths_us, min_size=knots, max_size=knots))
    elements = draw(st.sampled_from([small, numbers]))
    values = draw(arrays(np.float64, (3, knots, 1), elements=elements))
    acts = draw(st.lists(st.sampled_from(sorted(ACTS, key=lambda a: a.name)), max_size=2))
    late_ms = draw(st.sampled_from([10.0, 10.0, 10.0, 2.0, 18.0, 45.0, 200.0]))
    return steps, values, acts, draw(st.none() | numbers | small), late_ms


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(ROBOTS), st.booleans(), st.lists(commands(), min_size=1, max_size=3))
def test_whatever_numbers_come_nothing_unsafe_is_sent(name, windows, drawn):
    before, sent = moved(name, windows=windows)
    life, sent = copy.copy(before), sent[-8:]
    life.rng = np.random.default_rng(0)
    for steps, values, acts, target, late_ms in drawn:
        chunk = life.wave()
        knots_ns = np.cumsum([0, *steps[1:]]) * 1000
        here = np.stack([np.broadcast_to(life.position, (len(steps), len(life.position)))] * 3)
        here[1:] = 0.0
        p, v, a = here + values
        chunk = replace(
            chunk,
            start_ns=StampNs(life.offset_ns + life.now_ns),
            times_s=knots_ns / 1e9,
            positions=p,
            velocities=v,
            accelerations=a,
        )
        life.target = None if target is None else life.position + target
        extra = Inputs(life.offset_ns, chunks=(chunk,))
        with np.errstate(all="ignore"):
            sent.append(life.tick(extra, tuple(acts), late_ms))
            sent.extend(life.tick(Inputs(life.offset_ns), ()) for _ in range(3))
    verdict = judge(sent, life.options, name)
    assert verdict.first == ""
    assert verdict.unsafe == 0
