# SPDX-License-Identifier: Apache-2.0
"""The fault library: every hazard a policy runtime must survive as a named case."""
