# SPDX-License-Identifier: Apache-2.0
"""Cameras that fail are known by their payload; a still scene with a sensor's noise never is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from levine_policy_node.core.alignment import Problem
from levine_policy_node.core.frame_checks import FrameLimits, picture_problem
from levine_policy_node.core.frame_store import FrameStore
from levine_policy_node.core.units import StampNs

MS = 1_000_000
LIMITS = FrameLimits(noiseless=frozenset({"rendered"}))
SCENE = np.random.default_rng(7).integers(20, 200, (48, 64, 3)).astype(np.uint8)


def watched() -> FrameStore:
    store = FrameStore()
    store.watch(LIMITS)
    return store


def problems(pictures, camera="front") -> list[Problem | None]:
    """What is known of the camera after each picture; stamps are always fresh."""
    store, found = watched(), []
    for number, pixels in enumerate(pictures):
        store.put(camera, StampNs((number + 1) * 33 * MS), pixels)
        flaw = store.flaw(camera)
        found.append(None if flaw is None else flaw.problem)
    return found


def noisy(rng: np.random.Generator, sigma: float, scene: np.ndarray = SCENE) -> np.ndarray:
    return np.clip(scene + rng.normal(0.0, sigma, scene.shape), 0, 255).round().astype(np.uint8)


def test_the_third_identical_frame_is_a_fault_whatever_its_stamp():
    fresh = noisy(np.random.default_rng(0), 2.0)
    assert problems([fresh, SCENE, SCENE.copy(), SCENE.copy(), fresh]) == [
        *([None] * 3),
        Problem.REPEATED,
        None,
    ]


def test_a_rendered_scene_may_repeat_itself():
    assert problems([SCENE] * 5, "rendered") == [None] * 5


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.5, 6.0), st.integers(6, 245))
def test_a_still_scene_with_noise_never_trips(seed, sigma, grey):
    rng = np.random.default_rng(seed)
    for scene in (SCENE, np.full_like(SCENE, grey)):
        assert problems([noisy(rng, sigma, scene) for _ in range(12)]) == [None] * 12


@pytest.mark.parametrize(
    ("value", "spread", "problem"),
    [(1, 1.0, Problem.DARK), (254, 1.0, Problem.BRIGHT), (90, 0.0, Problem.UNIFORM)],
)
def test_three_frames_without_a_picture_are_a_fault(value, spread, problem):
    rng = np.random.default_rng(1)
    flat = np.full_like(SCENE, value)
    bad = [noisy(rng, spread, flat) for _ in range(3)]
    # Without noise they differ in one pixel that is not looked at, so that they do not repeat.
    for number, pixels in enumerate(bad):
        pixels[1, 1] = number
    good = [noisy(rng, 2.0) for _ in range(2)]
    assert problems([*good, *bad, *good]) == [None] * 4 + [problem] + [None] * 2
    # Two are a flash.
    assert problems([*bad[:2], good[0], *bad[:2]]) == [None] * 5


def test_a_gate_at_its_end_is_off():
    off = FrameLimits(dark=0.0, bright=255.0, spread=0.0)
    for value in (0, 128, 255):
        assert picture_problem(np.full_like(SCENE, value), off) is None


def test_another_size_is_a_fault_until_the_first_is_back():
    rng = np.random.default_rng(2)
    sizes = [SCENE, SCENE[:40], SCENE[:, :32], SCENE]
    found = problems([noisy(rng, 2.0, scene) for scene in sizes])
    assert found == [None, Problem.RESIZED, Problem.RESIZED, None]


def test_a_message_that_is_no_frame_is_a_fault_until_the_next_frame():
    store, heard = watched(), []
    store.listen(heard.append)
    store.put("front", StampNs(1), SCENE)
    store.refuse("front", "encoding '16UC1'; expected rgb8 or bgr8")
    assert str(store.flaw("front")) == (
        "camera front: frame dropped (encoding '16UC1'; expected rgb8 or bgr8)"
    )
    assert heard == [1, 0]
    store.put("front", StampNs(2), SCENE[::-1])
    assert store.flaw("front") is None


def test_cameras_are_judged_one_by_one_and_only_where_that_is_asked():
    store = watched()
    for stamp in range(1, 5):
        store.put("front", StampNs(stamp), SCENE)
        store.put("rendered", StampNs(stamp), SCENE)
    assert store.flaw("front") is not None
    assert store.flaw("rendered") is None
    unwatched = FrameStore()
    for stamp in range(1, 5):
        unwatched.put("front", StampNs(stamp), SCENE)
    assert unwatched.flaw("front") is None
