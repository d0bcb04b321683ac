# SPDX-License-Identifier: Apache-2.0
"""Inputs of every kind as messages, read by a library that knows nothing of ours."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
from rosbags.typesys import Stores, get_typestore
from stop_ticks import MS, OFFSET_NS, OPTIONS, ROBOT, Scene, swing

from levine_policy_node.core.acts import prepare_chunk
from levine_policy_node.core.effort_timeline import EffortTimeline
from levine_policy_node.core.modes import Event
from levine_policy_node.core.reference import Prepared
from levine_policy_node.core.stop_messages import TYPES, Narrator
from levine_policy_node.core.supervision import BadChunk, Inputs, Request, Target
from levine_policy_node.core.supervisor import step
from levine_policy_node.core.tick_record import CHUNKS_KEPT, Tick, pack_tick, unpack_tick
from levine_policy_node.core.units import StampNs, SteadyNs

STORE = get_typestore(Stores.ROS2_KILTED)
NAMES = ROBOT.joint_names
EFFORTS = EffortTimeline(
    NAMES,
    StampNs(OFFSET_NS),
    np.array([0.0, 0.05, 0.1]),
    np.arange(18.0).reshape(3, 6),
    "policy:p",
)


def tick_of(inputs: Inputs, **decided: object) -> Tick:
    """A tick of a supervisor that has just started, with some of its decision replaced."""
    scene = Scene()
    scene.tick()
    now = SteadyNs(scene.now_ns + 10 * MS)
    _, decision = step(scene.state, now, inputs, OPTIONS)
    return unpack_tick(pack_tick(2, now, now, inputs, replace(decision, **decided)))


def told(narrator: Narrator, tick: Tick) -> dict[str, list[object]]:
    found: dict[str, list[object]] = {}
    for said in narrator.messages(tick):
        value = STORE.deserialize_cdr(said.data, TYPES[said.topic])
        found.setdefault(said.topic, []).append(value)
    return found


def test_what_a_person_and_the_emergency_stop_said_is_told_once():
    target = Target(np.arange(6.0), "operator:spacemouse", SteadyNs(7 * MS))
    inputs = Inputs(OFFSET_NS, target=target, estop=True, estop_received_ns=SteadyNs(9 * MS))
    narrator, tick = Narrator(NAMES, OFFSET_NS), tick_of(inputs)
    first, second = told(narrator, tick), told(narrator, replace(tick, number=3))
    (pose,) = first["operator/target"]
    assert pose.header.frame_id == "operator:spacemouse"
    assert list(pose.position) == list(range(6))
    assert [m.data for m in first["estop"]] == [True]
    assert not {"operator/target", "estop", "supervisor/mode"} & set(second)
    (document,) = (json.loads(m.data) for m in second["supervisor/ticks"])
    assert document["estop"] is True
    assert document["age_ms"]["joint_states"] is None


def test_efforts_are_told_as_efforts():
    pushed = np.linspace(-1.0, 1.0, 6)
    scene = Scene()
    for acts in [()] * 5 + [(Event.ARM,)]:
        scene.tick(*acts)
    tick = tick_of(
        Inputs(OFFSET_NS, pushes=(EFFORTS,)),
        command=scene.decision.command,
        efforts=pushed,
        source="policy:p",
    )
    found = told(Narrator(NAMES, OFFSET_NS), tick)
    (chunk,) = found["policy/action_chunk"]
    assert chunk.header.frame_id == "policy:p"
    assert [list(point.effort) for point in chunk.points] == EFFORTS.efforts.tolist()
    assert all(len(point.positions) == 0 for point in chunk.points)
    assert chunk.points[2].time_from_start.nanosec == 100_000_000
    (command,) = found["supervisor/command"]
    assert list(command.effort) == pushed.tolist()


def test_a_prepared_chunk_is_told_as_it_arrived():
    scene = Scene()
    for acts in [()] * 10 + [(Event.ARM,)] + [()] * 10 + [(Event.ENGAGE,)] + [()] * 10:
        scene.tick(*acts)
    chunk = swing(scene.now_ns)
    prepared = prepare_chunk(chunk, scene.state, SteadyNs(scene.now_ns), OPTIONS)
    assert isinstance(prepared, Prepared)
    (message,) = told(Narrator(NAMES, OFFSET_NS), tick_of(Inputs(OFFSET_NS, chunks=(prepared,))))[
        "policy/action_chunk"
    ]
    assert [list(p.positions) for p in message.points] == chunk.positions.tolist()


def test_a_flood_of_chunks_is_counted_and_not_kept():
    chunks = tuple(swing(i * MS) for i in range(30))
    tick = tick_of(Inputs(OFFSET_NS, chunks=(*chunks, BadChunk("no points"))))
    assert len(tick.chunks) == CHUNKS_KEPT
    assert tick.chunks_left_out == 31 - CHUNKS_KEPT
    assert tick.chunks[-1].start_ns == chunks[-1].start_ns


def test_acts_and_their_answers_are_told():
    tick = tick_of(Inputs(OFFSET_NS, requests=(Request(Event.ENGAGE, 5),)))
    ((act, accepted, message),) = tick.acts
    assert (act, accepted) == ("engage", False)
    assert "supervisor/arm" in message
