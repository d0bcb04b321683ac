# SPDX-License-Identifier: Apache-2.0
"""Whatever chunks arrive and whenever they do, what is played is one timeline.

What `ChunkPlacer` promises of it, and what is tested here with chunks of any kind:

- *One C2 curve.* A chunk that is merged while the arm follows leaves what is played until the
  seam as it was, and position, velocity and acceleration go on through every merge. A timeline
  begins anew only where there is nothing to continue: at first, after `reset`, while the arm does
  not follow, or after the timeline has ended.
- *Inside the limits.* Where `Merged.fits` says so, everything from the seam on is inside the
  position range and the velocity, acceleration and jerk limits; a chunk the arm can follow always
  fits. A switching joint is inside its range in any case, and inside that of its rows.
- *Never late.* Every moment of the curve belongs to one time of the chunk: a row is met at its
  own time less the actuation delay (later by `stretch` after the seam), or, if that has passed,
  never.
- *Never further.* The timeline ends with the last row, and does not leave the range of the rows
  by more than a spline through them may.
- *The same again.* The same calls give the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from levine_policy_node.core.action_chunk import ActionChunk
from levine_policy_node.core.limits import JointLimits, excess_segments
from levine_policy_node.core.merge import Merged, MergeOptions
from levine_policy_node.core.placement import ChunkPlacer
from levine_policy_node.core.timeline import Timeline
from levine_policy_node.core.units import StampNs, nanoseconds

START = StampNs(1_700_000_000_000_000_000)
# By which share of the range of its points a cubic spline may pass that range (its Lebesgue
# constant is below 2), and its first parabola, which goes on for up to a row before them.
_SPLINE_REACH = 0.6
_FIRST_REACH = 8.0


@dataclass(frozen=True)
class Arrival:
    """One thing that happens.

    `after_s` from the last; a chunk that was observed `latency_s` ago, unless it is lost.
    """

    after_s: float
    latency_s: float
    shape: str
    seed: int
    lost: bool
    reset: bool
    playing: bool


@dataclass(frozen=True)
class Story:
    """A robot, the way chunks are merged, and what arrives."""

    limits: JointLimits
    options: MergeOptions
    dt_s: float
    rows: int
    arrivals: tuple[Arrival, ...]

    def chunk(self, arrival: Arrival, now_ns: int) -> ActionChunk:
        observed = StampNs(now_ns - nanoseconds(arrival.latency_s))
        times = (observed - START) / 1e9 + self.dt_s * (1 + np.arange(self.rows))
        rng = np.random.default_rng(arrival.seed)
        centre = 0.5 * (self.limits.lower + self.limits.upper)
        half = 0.5 * (self.limits.upper - self.limits.lower)
        joints = np.arange(len(centre))
        unit = 0.5 * np.sin(0.7 * times[:, None] + joints)
        if arrival.shape == "noisy":
            unit = unit + rng.normal(0.0, 0.05, unit.shape)
        elif arrival.shape == "steps":
            unit = np.sign(np.sin((2.0 + joints) * times[:, None] + rng.normal()))
        elif arrival.shape == "wild":
            unit = rng.normal(0.0, 1.0, unit.shape)
        elif arrival.shape == "edge":
            unit = np.where(unit > 0.0, 1.0, unit)
        return ActionChunk(
            self.limits.names,
            observed,
            self.dt_s,
            centre + half * unit,
            f"policy:x#{arrival.seed}",
        )


@dataclass(frozen=True)
class Placed:
    """A merge: what was played before it, and what came of it."""

    now_ns: int
    arrival: Arrival
    chunk: ActionChunk
    before: Timeline[StampNs] | None
    merged: Merged | None


@st.composite
def stories(draw, shapes=("smooth", "noisy", "steps", "wild", "edge")):
    joints = draw(st.integers(1, 3))
    names = tuple(f"j{i}" for i in range(joints))
    half = np.array(draw(st.lists(st.floats(0.3, 3.0), min_size=joints, max_size=joints)))
    offset = draw(st.floats(-1.0, 1.0))
    quick = draw(st.sampled_from([0.3, 1.0, 10.0]))
    limits = JointLimits(
        names,
        offset - half,
        offset + half,
        *(np.full(joints, quick * x) for x in (2.0, 8.0, 80.0)),
    )
    options = MergeOptions(
        rule=draw(st.sampled_from(["replace", "blend", "ensemble", "rtc"])),
        blend_s=draw(st.sampled_from([0.05, 0.2, 0.4])),
        ensemble_k=draw(st.sampled_from([0.0, 0.01, 1.0])),
        smoothing_s=draw(st.sampled_from([0.0, 0.06])),
        discrete=tuple(n for n in names if draw(st.booleans())),
        lead_s=draw(st.sampled_from([0.0, 0.02, 0.06])),
        actuation_delay_s=draw(st.sampled_from([0.0, 0.03, 0.08])),
    )
    arrivals = st.builds(
        Arrival,
        after_s=st.floats(0.001, 0.6),
        latency_s=st.floats(0.0, 0.5),
        shape=st.sampled_from(shapes),
        seed=st.integers(0, 99),
        lost=st.sampled_from([False, False, False, True]),
        reset=st.sampled_from([False, False, False, False, True]),
        playing=st.sampled_from([True, True, True, True, False]),
    )
    return Story(
        limits,
        options,
        dt_s=draw(st.sampled_from([0.01, 0.02, 0.04, 0.1, 0.2])),
        rows=draw(st.sampled_from([1, 2, 3, 10, 16, 50])),
        arrivals=tuple(draw(st.lists(arrivals, min_size=1, max_size=8))),
    )


def told(story: Story) -> list[Placed]:
    """Every merge of a story."""
    placer, now, playing, found = ChunkPlacer(story.limits, story.options), START, None, []
    for arrival in story.arrivals:
        now = StampNs(now + nanoseconds(arrival.after_s))
        if arrival.reset:
            placer.reset()
            playing = None
        if arrival.lost:
            continue
        chunk = story.chunk(arrival, now)
        merged = placer.place(chunk, now, playing=arrival.playing)
        if not arrival.playing:
            playing = None
        found.append(Placed(now, arrival, chunk, playing, merged))
        if merged is not None and arrival.playing:
            playing = merged.timeline
    return found


def seam_of(story: Story, placed: Placed) -> int:
    """When the new chunk takes effect: `lead` from now, and not long before its first row."""
    first = placed.chunk.row_stamp(0) - nanoseconds(story.options.actuation_delay_s)
    lead = placed.now_ns + nanoseconds(story.options.lead_s)
    seam = max(lead, first - nanoseconds(story.dt_s))
    return placed.now_ns if seam - placed.now_ns < 1_000_000 else seam


def from_seam(story: Story, placed: Placed) -> Timeline[StampNs]:
    timeline = placed.merged.timeline
    seam = StampNs(max(seam_of(story, placed), timeline.start_ns))
    return timeline.window(seam, StampNs(timeline.end_ns))


@given(stories())
@settings(max_examples=150, deadline=None)
def test_what_is_played_is_one_c2_curve(story):
    for placed in told(story):
        if placed.merged is None:
            continue
        timeline, seam = placed.merged.timeline, StampNs(seam_of(story, placed))
        now, before = StampNs(placed.now_ns), placed.before
        if before is None or not (before.covers(now) and before.covers(seam)):
            assert timeline.start_ns == seam
            continue
        # It is cut on a knot or a millisecond away from any, so what is played stays as it was;
        # the rest is rounding in short segments.
        assert 0 <= now - timeline.start_ns <= 2_020_000
        for share in (0.0, 0.3, 0.7, 1.0):
            at = StampNs(now + int(share * (seam - now)))
            old, new = before.sample(at), timeline.sample(at)
            np.testing.assert_allclose(new.position, old.position, atol=1e-8)
            np.testing.assert_allclose(new.velocity, old.velocity, atol=1e-6)
            np.testing.assert_allclose(new.acceleration, old.acceleration, atol=1e-3)


@given(stories())
@settings(max_examples=200, deadline=None)
def test_what_fits_is_inside_the_limits_and_a_switch_always_inside_its_range(story):
    limits = story.limits.scaled(0.98)
    for placed in told(story):
        if placed.merged is None:
            continue
        begins = placed.merged.timeline.times_s * 1e9 + placed.merged.timeline.start_ns
        excess = [
            found
            for found in excess_segments(placed.merged.timeline, limits)
            if begins[found.segment] > seam_of(story, placed) - 1_000
        ]
        if placed.merged.fits:
            assert excess == []
        assert [
            e for e in excess if e.kind == "position" and e.joint in story.options.discrete
        ] == []
        assert [e for e in excess if e.kind == "finite"] == []
        assert 1.0 <= placed.merged.stretch <= 4.0


@given(stories())
@settings(max_examples=100, deadline=None)
def test_the_same_calls_give_the_same_bits(story):
    for one, other in zip(told(story), told(story), strict=True):
        assert (one.merged is None) == (other.merged is None)
        if one.merged is None:
            continue
        a, b = one.merged, other.merged
        assert (a.dropped_rows, a.stretch, a.fits) == (b.dropped_rows, b.stretch, b.fits)
        assert a.timeline.start_ns == b.timeline.start_ns
        for field in ("times_s", "positions", "velocities", "accelerations"):
            assert getattr(a.timeline, field).tobytes() == getattr(b.timeline, field).tobytes()


@given(stories(shapes=("smooth",)))
@settings(max_examples=100, deadline=None)
def test_what_the_arm_can_follow_always_fits(story):
    """Slow sines, with enough left of every chunk."""
    if story.limits.velocity[0] < 2.0 or story.rows * story.dt_s < 1.6:
        return
    for placed in told(story):
        assert placed.merged is not None
        assert placed.merged.fits


@given(stories())
@settings(max_examples=100, deadline=None)
def test_the_timeline_ends_with_the_last_row_and_leaves_no_range(story):
    lowest, highest = np.inf, -np.inf
    delay = nanoseconds(story.options.actuation_delay_s)
    for placed in told(story):
        chunk = placed.chunk
        rows = np.clip(chunk.positions, story.limits.lower, story.limits.upper)
        lowest = np.minimum(lowest, rows.min(axis=0))
        highest = np.maximum(highest, rows.max(axis=0))
        if placed.merged is None:
            continue
        timeline, stretch = placed.merged.timeline, placed.merged.stretch
        first, last = (chunk.row_stamp(row) - delay for row in (0, story.rows - 1))
        seam = seam_of(story, placed)
        assert abs(timeline.end_ns - seam - stretch * (last - seam)) <= 2
        # Before the first row its parabola goes on for up to a period.
        reach = _SPLINE_REACH if first <= seam else _FIRST_REACH
        if story.options.rule == "ensemble":
            reach *= 2.0  # a curve through points of other curves
        if placed.before is not None and placed.before.end_ns < timeline.end_ns:
            # What was played comes to rest where it ends, anywhere in the joint range.
            lowest, highest = story.limits.lower, story.limits.upper
        discrete = story.options.is_discrete(timeline.joint_names)
        room = np.where(discrete, 0.01, reach) * (highest - lowest) + 1e-9
        part = from_seam(story, placed)
        position = part.sample_each(np.linspace(0.0, part.duration_s, 200)).position
        assert np.all(position <= highest + room)
        assert np.all(position >= lowest - room)
        # The next chunk may also mix in the way to rest after this one's end.
        lowest = np.minimum(lowest, position.min(axis=0) - 0.1 * (highest - lowest))
        highest = np.maximum(highest, position.max(axis=0) + 0.1 * (highest - lowest))


@given(stories(shapes=("smooth", "noisy")))
@settings(max_examples=100, deadline=None)
def test_every_row_is_met_at_its_own_time_or_never(story):
    """Once the window is over; without smoothing, slowing down and averaging."""
    if story.options.rule == "ensemble" or story.options.smoothing_s > 0.0:
        return
    switching = story.options.is_discrete(story.limits.names)
    longest = max(6.0 * story.options.blend_s, 1.6)
    delay = nanoseconds(story.options.actuation_delay_s)
    for placed in told(story):
        if placed.merged is None or placed.merged.stretch > 1.0 or not placed.merged.fits:
            continue
        timeline, chunk = placed.merged.timeline, placed.chunk
        for row in range(story.rows - 1):
            at = StampNs(chunk.row_stamp(row) - delay)
            window = 0.001 if placed.before is None else longest
            if at < seam_of(story, placed) + nanoseconds(window):
                continue
            error = np.abs(timeline.sample(at).position - chunk.positions[row])
            # Near the end of the range rows give way to the curve through them.
            inner = np.abs(chunk.positions[row]) < 0.5 * story.limits.upper.max()
            assert np.all(error[~switching & inner] < 1e-6)


@given(st.integers(0, 99), st.sampled_from([0.0, 1.0]), st.floats(0.0, 1.0))
@settings(deadline=None)
def test_rows_long_past_are_never_seen(seed, discrete, spoiled):
    """What is spoiled lies a second and more before the seam: nothing of it is left."""
    names = ("j0",)
    limits = JointLimits(names, *(np.array([x]) for x in (-3.0, 3.0, 20.0, 80.0, 800.0)))
    options = MergeOptions(discrete=names if discrete else ())
    rows = 0.3 * np.sin(0.1 * np.arange(100) + seed)[:, None]
    other = rows.copy()
    other[:30] += spoiled * np.random.default_rng(seed).normal(size=(30, 1))
    played = []
    for values in (rows, other):
        chunk = ActionChunk(names, StampNs(START - nanoseconds(1.7)), 0.02, values)
        placer = ChunkPlacer(limits, options)
        played.append(placer.place(chunk, START, playing=True).timeline)
    if not discrete:
        np.testing.assert_allclose(played[0].positions, played[1].positions, atol=1e-12)
    assert np.all(played[1].positions <= 0.301)


def test_a_late_chunk_while_the_arm_does_not_follow_ends_what_was_played():
    """Shrunk from the first property: the next chunk went on from a timeline long given up."""
    limits = JointLimits(("j0",), *(np.array([x]) for x in (-1.0, 1.0, 2.0, 8.0, 80.0)))
    placer = ChunkPlacer(limits, MergeOptions(lead_s=0.02))
    rows = np.zeros((10, 1))

    def place(observed_s, now_s, *, playing):
        stamps = (StampNs(START + nanoseconds(s)) for s in (observed_s, now_s))
        observed, now = stamps
        return placer.place(ActionChunk(("j0",), observed, 0.1, rows), now, playing=playing)

    assert place(0.0, 0.1, playing=True) is not None
    assert place(-2.0, 0.2, playing=False) is None
    again = place(0.2, 0.3, playing=True)
    assert again.timeline.start_ns == START + nanoseconds(0.32)


def test_a_chunk_too_fast_even_when_slowed_most_does_not_claim_to_fit():
    """Shrunk: only the window was looked at, not the rest of the curve."""
    limits = JointLimits(("j0",), *(np.array([x]) for x in (-1.0, 1.0, 0.6, 2.4, 24.0)))
    placer = ChunkPlacer(limits, MergeOptions(rule="replace", lead_s=0.0))
    calm = ActionChunk(("j0",), START, 0.02, np.zeros((50, 1)))
    assert placer.place(calm, START, playing=True).fits
    jumpy = np.where(np.arange(50) < 40, 0.0, 1.0)[:, None]
    later = StampNs(START + nanoseconds(0.1))
    merged = placer.place(ActionChunk(("j0",), later, 0.02, jumpy), later, playing=True)
    assert merged.stretch == 4.0
    assert not merged.fits


def test_without_a_lead_a_chunk_takes_effect_at_once():
    """Shrunk: the part before the seam is empty then."""
    limits = JointLimits(("j0",), *(np.array([x]) for x in (-1.0, 1.0, 2.0, 8.0, 80.0)))
    placer = ChunkPlacer(limits, MergeOptions(lead_s=0.0))
    chunk = ActionChunk(("j0",), START, 0.1, np.zeros((10, 1)))
    placer.place(chunk, START, playing=True)
    now = StampNs(START + nanoseconds(0.2))
    assert placer.place(chunk, now, playing=True).timeline.start_ns == now


def test_a_gripper_that_reverses_in_mid_step_stays_in_its_range():
    """Shrunk from `test_merge.py`: where two steps turn round between knots, both are exceeded."""
    limits = JointLimits(("g",), *(np.array([x]) for x in (0.0, 1.0, 10.0, 200.0, 9000.0)))
    placer = ChunkPlacer(limits, MergeOptions(discrete=("g",), lead_s=0.02))
    for k, switch_s in enumerate((0.1, 0.35, 0.36, 0.7, 0.75)):
        now = StampNs(START + nanoseconds(0.12 * k))
        times = (now - START) / 1e9 - 0.1 + 0.04 * np.arange(1, 31)
        rows = np.where(times < switch_s, k % 2, 1 - k % 2).astype(float)[:, None]
        observed = StampNs(now - nanoseconds(0.1))
        merged = placer.place(ActionChunk(("g",), observed, 0.04, rows), now, playing=True)
        assert merged.fits
        assert excess_segments(merged.timeline, limits) == []
