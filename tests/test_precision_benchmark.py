"""What `benchmarks.precision` concludes from counted errors."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.precision import ALLOWED, as_markdown, summarise


def rows(float32: int, int8: int) -> list[dict[str, Any]]:
    return [
        {"compute_type": name, "beam_size": 5, "wrong": wrong, "length": 1000}
        for name, wrong in (("float32", float32), ("int8", int8))
    ]


@pytest.mark.parametrize(("int8", "passes"), [(90, True), (100, True), (105, True), (106, False)])
def test_a_type_may_be_half_a_point_worse_than_float32(int8: int, passes: bool) -> None:
    assert ALLOWED == 0.5
    summary = summarise(rows(100, int8), clips=3)
    assert summary["passes"] == passes
    assert summary["rows"][1]["above_float32"] == pytest.approx((int8 - 100) / 10)


def test_the_page_has_a_line_for_each() -> None:
    page = as_markdown(summarise(rows(100, 103), clips=3))
    assert "| beam 5 | int8 | 103 | 1000 | 10.30 | +0.30 |" in page
