"""Functions that only kernels call stay plain Python outside them: their machine code has no entrance of its own."""

from flexcore.kernels.market.awards import _fill


def test_a_call_from_python_runs_the_source() -> None:
    share = [0, 0]
    assert _fill(5, 2, [1, 0], [3, 4], share) == 0
    assert share == [1, 4]
