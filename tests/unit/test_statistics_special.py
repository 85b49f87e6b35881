"""The special functions of our own against scipy's."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special as reference

from evergreen.statistics import special

shapes = st.floats(0.5, 1e6)
shares = st.floats(1e-6, 1 - 1e-6)


@given(shares, shapes, shapes)
def test_log_beta_tail_is_that_of_scipy_wherever_scipy_does_not_underflow(p: float, a: float, b: float) -> None:
    expected = float(reference.betaincc(a, b, p))
    ours = special.log_beta_tail(p, a, b)
    assert -math.inf < ours <= 0.0
    if expected > 1e-280:
        assert ours == pytest.approx(math.log(expected), rel=1e-6, abs=1e-8)


@given(st.floats(1e-9, 0.5), st.floats(0.5, 1e5), st.floats(0.5, 1e5))
def test_beta_upper_quantile_leaves_the_tail(tail: float, a: float, b: float) -> None:
    assert special.beta_upper_quantile(tail, a, b) == pytest.approx(
        float(reference.betainccinv(a, b, tail)), rel=1e-6, abs=1e-12
    )


@given(st.floats(1e-7, 0.5), st.integers(1, 200))
def test_student_t_upper_quantile_is_scipys(tail: float, degrees: int) -> None:
    expected = -float(reference.stdtrit(degrees, tail))
    assert special.student_t_upper_quantile(tail, degrees) == pytest.approx(expected, rel=1e-6, abs=1e-6)


@given(st.floats(-20.0, 20.0), st.floats(2.0, 60.0))
def test_log_student_t_below_is_scipys(t: float, degrees: float) -> None:
    expected = math.log(float(reference.stdtr(degrees, t)))
    assert special.log_student_t_below(t, degrees) == pytest.approx(expected, rel=1e-6, abs=1e-9)


@given(st.floats(1e-3, 2000.0), st.integers(1, 500))
def test_chi_square_tail_is_scipys(x: float, degrees: int) -> None:
    expected = float(reference.chdtrc(degrees, x))
    assert special.chi_square_tail(x, degrees) == pytest.approx(expected, rel=1e-6, abs=1e-12)


@given(st.floats(0.01, 10.0))
def test_kolmogorov_tail_is_scipys(x: float) -> None:
    assert special.kolmogorov_tail(x) == pytest.approx(float(reference.kolmogorov(x)), rel=1e-9, abs=1e-15)


def test_the_ends() -> None:
    assert special.log_beta_tail(0.0, 2.0, 3.0) == 0.0
    assert special.log_beta_tail(1.0, 2.0, 3.0) == -math.inf
    assert special.chi_square_tail(0.0, 3.0) == 1.0
    assert special.kolmogorov_tail(0.0) == 1.0
    assert special.student_t_upper_quantile(0.5, 4) == 0.0
