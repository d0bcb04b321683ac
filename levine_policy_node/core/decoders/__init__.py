# SPDX-License-Identifier: Apache-2.0
"""Samplers: how the outputs of a policy's graphs become an action chunk."""
