# SPDX-License-Identifier: Apache-2.0
"""Recurrent state: one state per inference, and only an inference that succeeds changes it."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from levine_policy_node.core.feedback import Feedback


class Adding:
    """`step` returns the state plus one, `encode` nothing of it."""

    def run(self, role, inputs):
        return {"h_out": inputs["h_in"] + 1.0} if role == "step" else {"features": np.zeros(1)}


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.booleans())))
def test_the_state_counts_the_inferences_that_succeeded_since_the_last_reset(inferences):
    feedback = Feedback(Adding(), {"h_in": "h_out"}, {"h_in": np.zeros((1, 2))})
    expected = 0.0
    for steps, succeeds, reset in inferences:
        if reset:
            feedback.reset()
            expected = 0.0
        state = feedback.begin()
        np.testing.assert_array_equal(state["h_in"], np.full((1, 2), expected))
        assert "features" in feedback.run("encode", state)
        for _ in range(steps):
            feedback.run("step", state)
        if succeeds:
            feedback.commit()
            expected += steps > 0
