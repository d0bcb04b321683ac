# SPDX-License-Identifier: Apache-2.0
"""Figures that networks normalise with."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from levine_policy_node.core.column_statistics import QUANTILES, PixelCounts, figures_of, pooled


@settings(max_examples=30)
@given(st.lists(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=2), min_size=1, max_size=50))
def test_columns(rows):
    values = np.array(rows)
    found = figures_of(values)
    np.testing.assert_allclose(found["mean"], values.mean(axis=0), atol=1e-9)
    np.testing.assert_allclose(found["std"], values.std(axis=0), atol=1e-9)
    assert found["count"] == [len(rows)]
    for name in QUANTILES:
        assert np.all(found["min"] <= found[name])
        assert np.all(found[name] <= found["max"])


def test_single_values_and_truth_values_are_columns_of_one():
    assert figures_of(np.array([True, False]))["mean"].tolist() == [0.5]
    assert figures_of(np.array([3, 5], dtype=np.int64))["max"].tolist() == [5.0]


@settings(max_examples=30)
@given(st.integers(0, 2**32), st.integers(1, 5))
def test_pictures_are_counted_exactly(seed, count):
    pictures = np.random.default_rng(seed).integers(0, 256, (count, 6, 9, 3), dtype=np.uint8)
    counted = PixelCounts()
    for picture in pictures:
        counted.add(picture)
    found = counted.figures()
    unit = pictures.reshape(-1, 3) / 255.0
    for name, wanted in {
        "min": unit.min(axis=0),
        "max": unit.max(axis=0),
        "mean": unit.mean(axis=0),
        "std": unit.std(axis=0),
        **{
            name: np.quantile(unit, at, axis=0, method="inverted_cdf")
            for name, at in QUANTILES.items()
        },
    }.items():
        np.testing.assert_allclose(found[name], wanted, atol=1e-9, err_msg=name)
    assert found["count"] == [count]


def test_large_pictures_are_sampled():
    picture = np.zeros((480, 640, 3), np.uint8)
    picture[:, 320:] = 255
    counted = PixelCounts()
    counted.add(picture)
    np.testing.assert_allclose(counted.figures()["mean"], 0.5, atol=1e-9)


@settings(max_examples=30)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=6), st.integers(0, 2**32))
def test_episodes_are_pooled_as_if_they_were_one(lengths, seed):
    rng = np.random.default_rng(seed)
    parts = [rng.normal(size=(length, 3)) for length in lengths]
    found, whole = pooled([figures_of(part) for part in parts]), figures_of(np.concatenate(parts))
    for name in ("min", "max", "mean", "std", "count"):
        np.testing.assert_allclose(found[name], whole[name], atol=1e-9)
    for name in QUANTILES:
        assert np.all(found["min"] <= found[name] + 1e-12)
        assert np.all(found[name] <= found["max"] + 1e-12)
