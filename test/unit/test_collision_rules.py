# SPDX-License-Identifier: Apache-2.0
"""What is accepted is clear everywhere, judged by a planar arm with distances of its own.

The arm has two links, lies in a plane and is as thick as its capsules; a ball and a wall are in
its way. The judge samples densely.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from levine_policy_node.core.collision_rules import first_breach
from levine_policy_node.core.limits import JointLimits, first_excess
from levine_policy_node.core.plan import Plan
from levine_policy_node.core.reference import Rejected
from levine_policy_node.core.safe_way import Kept, follow_clear, keep_clear, slower_by
from levine_policy_node.core.shaper import move_to
from levine_policy_node.core.timeline import JointPoint, Timeline
from levine_policy_node.core.units import SteadyNs, nanoseconds

LENGTH, THICK = np.array([0.3, 0.25]), 0.03
WALL_X, MARGIN = 0.5, 0.01
LIMITS = JointLimits(
    ("shoulder", "elbow"),
    np.array([-3.0, -2.5]),
    np.array([3.0, 2.5]),
    np.array([2.0, 2.0]),
    np.array([8.0, 8.0]),
    np.array([80.0, 80.0]),
)


def corners(position: np.ndarray) -> np.ndarray:
    """Shoulder, elbow and tip (..., 3, 2) [m] of poses (..., 2)."""
    turn = np.cumsum(position, axis=-1)
    steps = LENGTH[:, None] * np.stack([np.cos(turn), np.sin(turn)], axis=-1)
    return np.cumsum(np.concatenate([0.0 * steps[..., :1, :], steps], axis=-2), axis=-2)


def to_segment(point: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """How far `point` is from lines between points (..., 2)."""
    length = ((b - a) ** 2).sum(axis=-1)
    along = np.clip(((point - a) * (b - a)).sum(axis=-1) / length, 0.0, 1.0)
    return np.linalg.norm(point - a - along[..., None] * (b - a), axis=-1)


@dataclass
class Scene:
    """A ball beside a wall; implements `Surroundings`."""

    ball: np.ndarray
    radius: float = 0.05
    tool_speed: float = np.inf
    looks: int = 0
    margins = np.full(3, MARGIN)
    reach = np.array([[0.3, 0.0], [0.55, 0.25], [0.55, 0.25]]) + THICK
    hand_reach = np.array([0.55, 0.25])

    def distances(self, position: np.ndarray) -> np.ndarray:
        self.looks += 1
        p = corners(position)
        away = [
            to_segment(self.ball, p[..., i, :], p[..., i + 1, :]) - THICK - self.radius
            for i in (0, 1)
        ]
        wall = WALL_X - np.maximum(p[..., 1, 0], p[..., 2, 0]) - THICK
        return np.stack([*away, wall], axis=-1)

    def hand_speed(self, position: np.ndarray, velocity: np.ndarray) -> float:
        step = 1e-6
        before, after = corners(position)[2], corners(position + step * velocity)[2]
        return float(np.linalg.norm(after - before)) / step

    def say(self, pair: int, distance: float) -> str:
        return f"{('upper', 'lower', 'wall')[pair]} {distance:.4f}"


def clearance(scene: Scene, timeline: Timeline[SteadyNs], begin_ns: int) -> float:
    """The least distance over the margin at 1 ms from `begin_ns` on."""
    begin_s = (begin_ns - int(timeline.start_ns)) / 1e9
    times_s = np.linspace(begin_s, timeline.duration_s, 1 + int(timeline.duration_s * 1e3))
    return float((scene.distances(timeline.sample_each(times_s).position) - MARGIN).min())


def way(points: list[np.ndarray], speed: float) -> Timeline[SteadyNs]:
    """Through several poses, at rest at each."""
    whole: Timeline[SteadyNs] | None = None
    for begin, end in itertools.pairwise(points):
        start = SteadyNs(0 if whole is None else whole.end_ns)
        part = move_to(JointPoint.at_rest(begin), end, LIMITS.slowed(speed), start)
        assert part is not None
        whole = part if whole is None else whole.then(part)
    assert whole is not None
    return whole


angles = st.tuples(st.floats(-2.9, 2.9), st.floats(-2.4, 2.4)).map(np.array)
scenes = st.builds(
    lambda r, a: Scene(np.array([r * np.cos(a), r * np.sin(a)])),
    st.floats(0.2, 0.5),
    st.floats(-3.0, 3.0),
)
poses = st.lists(angles, min_size=2, max_size=4)


@settings(max_examples=40)
@given(scene=scenes, points=poses, speed=st.floats(0.2, 1.0), splice=st.floats(0.0, 0.5))
def test_what_is_kept_is_clear_a_prefix_and_within_the_limits(scene, points, speed, splice):
    timeline = way(points, speed)
    splice_ns = SteadyNs(min(nanoseconds(splice), timeline.end_ns))
    at_splice = scene.distances(timeline.sample(splice_ns).position)
    kept = keep_clear(Plan(timeline, ((0, "policy"),)), splice_ns, LIMITS, scene)
    if (at_splice < MARGIN).any():
        assert isinstance(kept, Rejected)
    if isinstance(kept, Rejected):
        assert kept.blocked
        return
    assert clearance(scene, kept.plan.timeline, int(splice_ns)) >= 0.0
    if not kept.cut:
        assert kept.plan.timeline is timeline
        return
    kept_way, brake_ns = kept.plan.timeline, kept.plan.marks[-1][0]
    assert kept.plan.marks[-1][1] == "stop"
    for time_ns in np.linspace(0, brake_ns, 9).astype(int):
        asked = timeline.sample(SteadyNs(int(time_ns))).position
        assert np.allclose(kept_way.sample(SteadyNs(int(time_ns))).position, asked, atol=1e-9)
    assert np.all(kept_way.velocities[-1] == 0.0)
    # Cutting adds knots, and rounding of the jerk with them.
    assert first_excess(kept_way, LIMITS.slowed(1.0 + 1e-6)) is None


@settings(max_examples=20)
@given(scene=scenes, points=poses)
def test_nothing_is_refused_that_stays_well_away(scene, points):
    timeline = way(points, 0.5)
    kept = keep_clear(Plan(timeline, ((0, "policy"),)), SteadyNs(0), LIMITS, scene)
    if clearance(scene, timeline, 0) > 0.01:
        assert kept == Kept(Plan(timeline, ((0, "policy"),)))


def test_the_arm_stops_before_the_wall_and_gets_away_again():
    scene = Scene(np.array([9.0, 9.0]))
    begin, end = np.array([1.4, 0.0]), np.array([0.0, 0.0])
    kept = keep_clear(Plan(way([begin, end], 1.0), ((0, "p"),)), SteadyNs(0), LIMITS, scene)
    assert isinstance(kept, Kept)
    assert kept.cut.startswith("wall 0.0")
    stands = kept.plan.timeline.positions[-1]
    assert 0.0 < scene.distances(stands)[2] - MARGIN < 0.05
    pushed = 0
    for pushed in range(9):  # noqa: B007  how often it took
        more = keep_clear(Plan(way([stands, end], 1.0), ((0, "p"),)), SteadyNs(0), LIMITS, scene)
        if isinstance(more, Rejected):
            break
        assert more.cut
        stands = more.plan.timeline.positions[-1]
    assert pushed < 8
    away = keep_clear(Plan(way([stands, begin], 1.0), ((0, "p"),)), SteadyNs(0), LIMITS, scene)
    assert isinstance(away, Kept)
    assert not away.cut


def test_from_too_near_only_the_way_out_is_open():
    scene = Scene(np.array([9.0, 9.0]))
    inside = np.array([np.arccos((WALL_X - THICK - 0.004) / 0.55), 0.0])
    out = Plan(way([inside, inside + np.array([0.8, 0.0])], 1.0), ())
    in_ = Plan(way([inside, np.zeros(2)], 1.0), ())
    start = SteadyNs(0)
    assert isinstance(keep_clear(out, start, LIMITS, scene), Rejected)
    assert keep_clear(out, start, LIMITS, scene, leaving=True) == Kept(out)
    kept = keep_clear(in_, start, LIMITS, scene, leaving=True)
    if isinstance(kept, Kept):
        assert clearance(scene, kept.plan.timeline, 0) >= 0.004 - MARGIN - 0.003


def test_what_never_ends_is_looked_at_for_a_while_only():
    scene, begin = Scene(np.array([9.0, 9.0])), np.array([1.5, 0.0])
    timeline = way([begin, begin + np.array([0.5, 0.3])], 0.5)
    still = np.zeros((2, 2))
    ends = np.stack([timeline.positions[-1]] * 2)
    standing = Timeline(
        LIMITS.names, SteadyNs(timeline.end_ns), np.array([0.0, 1e7]), ends, still, still
    )
    plan = Plan(timeline.then(standing), ((0, "p"),))
    kept = keep_clear(plan, SteadyNs(0), LIMITS, scene)
    assert isinstance(kept, Kept)
    assert kept.cut == "no motion is looked at for more than 20 s in 20.00 s"
    assert kept.plan.timeline.duration_s < 21.0


def test_what_is_not_finite_is_never_clear():
    scene = Scene(np.array([9.0, 9.0]))
    bad = np.full((3, 2), np.nan)
    breach = first_breach(JointPoint(bad, bad, bad), 0.01, scene)
    assert breach is not None
    assert breach.index == 0
    still = np.zeros((3, 2))
    scene.distances = lambda position: np.full(3, np.nan)
    assert first_breach(JointPoint(still, still, still), 0.01, scene) is not None


def test_few_looks_do_where_there_is_room():
    scene = Scene(np.array([9.0, 9.0]))
    timeline = way([np.array([1.5, 0.5]), np.array([2.5, -0.5]), np.array([1.5, 0.5])], 0.5)
    keep_clear(Plan(timeline, ((0, "p"),)), SteadyNs(0), LIMITS, scene)
    assert scene.looks < 30


def chunk(speed: float) -> Timeline[SteadyNs]:
    """A swing of the shoulder at up to `speed` [rad/s], slow at its ends."""
    times = np.arange(31) * 0.05
    turn = 2.0 * np.pi * times / times[-1]
    rate = 2.0 * np.pi / times[-1]
    angle = speed / rate * np.stack([1.0 - np.cos(turn), 0.0 * turn], axis=1) * [-1, 1] + [
        2.0,
        0.3,
    ]
    velocity = -speed * np.stack([np.sin(turn), 0.0 * turn], axis=1)
    bend = -speed * rate * np.stack([np.cos(turn), 0.0 * turn], axis=1)
    return Timeline(LIMITS.names, SteadyNs(0), times, angle, velocity, bend, "policy:x@0#0")


@pytest.mark.parametrize("speed", [0.8, 1.2, 1.8])
def test_a_hand_that_is_too_fast_is_slowed_along_its_path(speed):
    scene = Scene(np.array([9.0, 9.0]), tool_speed=0.5)
    reference = chunk(speed)
    plan = Plan.holding(LIMITS.names, reference.positions[0], SteadyNs(0))
    followed = follow_clear(plan, reference, SteadyNs(0), 0.04, LIMITS, scene)
    assert not isinstance(followed, Rejected)
    assert bool(followed.slowed) == (speed > 1.0)
    motion = followed.plan.timeline
    points = [motion.sample(SteadyNs(t)) for t in range(0, motion.end_ns, 4_000_000)]
    fastest = max(scene.hand_speed(p.position, p.velocity) for p in points)
    assert fastest <= 0.5 * 1.011
    if followed.slowed:
        assert fastest > 0.3
        assert "m/s (limit 0.5 m/s)" in followed.slowed


@settings(max_examples=20)
@given(factor=st.floats(1.0, 3.0), at=st.floats(0.0, 1.0))
def test_slower_is_the_same_path(factor, at):
    reference = chunk(1.0)
    slow = slower_by(reference, factor)
    here = reference.sample_s(at * reference.duration_s)
    there = slow.sample_s(at * slow.duration_s)
    assert np.allclose(here.position, there.position, atol=1e-9)
    assert np.allclose(here.velocity, there.velocity * factor, atol=1e-7)
