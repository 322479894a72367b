"""Work rows of sweeps: handed on to whoever comes next, never to two at once, and never too many kept."""

import numpy as np
import pytest

from flexcore.grid import sweeps
from flexcore.grid.sweeps import Scratch


@pytest.fixture(autouse=True)
def _no_spare(monkeypatch):
    monkeypatch.setattr(Scratch, "_spare", [])


def test_rows_are_handed_on_when_their_user_is_gone():
    first, second = Scratch(5, 24), Scratch(5, 24)
    rows, other = first(), second()
    assert rows is first()
    assert rows.shape == other.shape == (5, 24)
    assert rows.ctypes.data % 64 == other.ctypes.data % 64 == 0
    assert not np.shares_memory(rows, other)
    del first
    smaller = Scratch(3, 8)
    assert np.shares_memory(smaller(), rows)
    assert not np.shares_memory(smaller(), other)
    larger = Scratch(50, 24)
    assert larger().shape == (50, 24)


def test_no_more_than_a_limit_is_kept(monkeypatch):
    monkeypatch.setattr(sweeps, "_SPARE_BYTES", 3 * 8 * (10 * 8 + 8))
    used = [Scratch(10, 8) for _ in range(5)]
    for scratch in used:
        scratch()
    used.clear()
    del scratch
    assert len(Scratch._spare) == 3
