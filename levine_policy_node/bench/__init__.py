# SPDX-License-Identifier: Apache-2.0
"""Benchmarks: our code beside the rules of others, on the same input."""
