# SPDX-License-Identifier: Apache-2.0
"""Recorded episodes as data sets that other projects train on."""
