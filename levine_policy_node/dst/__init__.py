# SPDX-License-Identifier: Apache-2.0
"""Deterministic simulation: the production core among fake processes, clocks, a bus and an arm."""
