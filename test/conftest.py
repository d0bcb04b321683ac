# SPDX-License-Identifier: Apache-2.0
"""Settings of every test."""

from hypothesis import settings

# How long an example takes says something about the machine, not about the code.
settings.register_profile("levine", deadline=None)
settings.load_profile("levine")
