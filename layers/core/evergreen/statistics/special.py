"""The few special functions the decisions need, in logs and in plain Python.

``scipy.special`` has them all, but importing it costs a Lambda half a second and 130 MB, and ``log(betaincc)``
underflows where a busy endpoint's counts lie. The tests hold these against scipy.
"""

from __future__ import annotations

import math

_TINY = 1e-300
_EPSILON = 1e-15
_MAX_TERMS = 10_000_000


def log_beta(a: float, b: float) -> float:
    """Return the logarithm of the beta function.

    Examples
    --------
    >>> round(log_beta(2.0, 3.0), 6) == round(math.log(1 / 12), 6)
    True
    """
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def log_beta_tail(p: float, a: float, b: float) -> float:
    """Return the logarithm of P(X > p) for X ~ Beta(a, b); finite even where the probability underflows.

    Parameters
    ----------
    p : float
        Where the tail begins.
    a, b : float
        The shapes, above 0.

    Returns
    -------
    float
        At most 0; ``-inf`` only for ``p >= 1``.

    Examples
    --------
    >>> round(math.exp(log_beta_tail(0.25, 1.0, 1.0)), 12)
    0.75
    >>> log_beta_tail(0.9, 1.0, 1e6) < -2e6
    True
    """
    if p <= 0.0:
        return 0.0
    if p >= 1.0:
        return -math.inf
    return _log_beta_tail(p, 1.0 - p, a, b)


def beta_upper_quantile(tail: float, a: float, b: float) -> float:
    """Return the p with P(X > p) = ``tail`` for X ~ Beta(a, b).

    Examples
    --------
    >>> round(beta_upper_quantile(0.05, 1.0, 100.0), 6)   # 0 of 100: 1 - 0.05 ** (1 / 100)
    0.029513
    """
    return 1.0 / (1.0 + math.exp(-_beta_upper_logit(tail, a, b)))


def student_t_upper_quantile(tail: float, degrees: float) -> float:
    """Return the t with P(T > t) = ``tail`` (at most 1/2) for Student's t.

    Examples
    --------
    >>> round(student_t_upper_quantile(0.025, 10), 4)
    2.2281
    """
    if tail >= 0.5:
        return 0.0
    # T**2 / (T**2 + v) is Beta(1/2, v/2), so its odds are T**2 / v.
    return math.sqrt(degrees * math.exp(_beta_upper_logit(2.0 * tail, 0.5, degrees / 2.0)))


def log_student_t_below(t: float, degrees: float) -> float:
    """Return the logarithm of P(T < t) for Student's t; finite even where the probability underflows.

    Examples
    --------
    >>> round(math.exp(log_student_t_below(2.2281, 10)), 4)
    0.975
    >>> round(math.exp(log_student_t_below(-1.0, 1)), 12)   # Cauchy
    0.25
    """
    log_both = log_beta_tail(t * t / (t * t + degrees), 0.5, degrees / 2.0)
    return log_both - math.log(2.0) if t < 0.0 else math.log1p(-0.5 * math.exp(log_both))


def chi_square_tail(x: float, degrees: float) -> float:
    """Return P(X > x) for a chi-square with ``degrees`` degrees of freedom.

    Examples
    --------
    >>> round(chi_square_tail(3.841459, 1), 6)
    0.05
    """
    if x <= 0.0:
        return 1.0
    s, y = degrees / 2.0, x / 2.0
    log_front = s * math.log(y) - y - math.lgamma(s)
    if y < s + 1.0:
        term = total = 1.0 / s
        n = s
        while term > total * _EPSILON:
            n += 1.0
            term *= y / n
            total += term
        return max(0.0, 1.0 - total * math.exp(log_front))
    b = y + 1.0 - s
    c, d = 1.0 / _TINY, 1.0 / b
    fraction = d
    for i in range(1, _MAX_TERMS):
        step = -i * (i - s)
        b += 2.0
        d = 1.0 / _away_from_zero(step * d + b)
        c = _away_from_zero(b + step / c)
        fraction *= c * d
        if abs(c * d - 1.0) < _EPSILON:
            break
    return math.exp(log_front + math.log(fraction))


def kolmogorov_tail(x: float) -> float:
    """Return P(sup |Brownian bridge| > x), the limit law of sqrt(n) times the Kolmogorov-Smirnov distance.

    Examples
    --------
    >>> round(kolmogorov_tail(1.3581), 4)
    0.05
    """
    if x <= 0.0:
        return 1.0
    if x < 1.0:
        power = math.pi**2 / (8.0 * x * x)
        below = sum(math.exp(-power * (2 * k - 1) ** 2) for k in range(1, 6))
        return 1.0 - math.sqrt(2.0 * math.pi) / x * below
    return 2.0 * sum((1.0 if k % 2 else -1.0) * math.exp(-2.0 * (k * x) ** 2) for k in range(1, 8))


def _log_beta_tail(p: float, q: float, a: float, b: float) -> float:
    """Return ``log_beta_tail`` with ``q = 1 - p`` given, so that neither end loses its digits."""
    front = a * math.log(p) + b * math.log(q) - log_beta(a, b)
    if p < (a + 1.0) / (a + b + 2.0):
        below = math.exp(front) * _beta_fraction(p, a, b) / a
        return math.log1p(-min(below, 1.0 - 1e-16))
    return min(0.0, front + math.log(_beta_fraction(q, b, a) / b))


def _beta_fraction(x: float, a: float, b: float) -> float:
    """Evaluate the incomplete beta's continued fraction by Lentz's method, in about sqrt(max(a, b)) terms."""
    c = 1.0
    d = 1.0 / _away_from_zero(1.0 - (a + b) * x / (a + 1.0))
    fraction = d
    for i in range(1, _MAX_TERMS):
        even = i * (b - i) * x / ((a + 2 * i - 1.0) * (a + 2 * i))
        d = 1.0 / _away_from_zero(1.0 + even * d)
        c = _away_from_zero(1.0 + even / c)
        fraction *= c * d
        odd = -(a + i) * (a + b + i) * x / ((a + 2 * i) * (a + 2 * i + 1.0))
        d = 1.0 / _away_from_zero(1.0 + odd * d)
        c = _away_from_zero(1.0 + odd / c)
        fraction *= c * d
        if abs(c * d - 1.0) < _EPSILON:
            break
    return fraction


def _beta_upper_logit(tail: float, a: float, b: float) -> float:
    """Return the logit of ``beta_upper_quantile``.

    On the logit scale a beta's density is log-concave, so its log tail is concave and Newton's steps, once right
    of the root, fall towards it without overshooting.
    """
    target = math.log(tail)
    u = math.log(a / b)
    for _ in range(200):
        p, q = _logistic(u), _logistic(-u)
        log_tail = _log_beta_tail(p, q, a, b)
        log_density = a * math.log(p) + b * math.log(q) - log_beta(a, b)
        step = (log_tail - target) * math.exp(min(log_tail - log_density, 700.0))
        u += max(-20.0, min(20.0, step))
        if abs(step) <= 1e-13 * max(1.0, abs(u)):
            break
    return u


def _logistic(u: float) -> float:
    """Return 1 / (1 + exp(-u)), kept above 0."""
    return max(1.0 / (1.0 + math.exp(-u)) if u > -700.0 else math.exp(u), _TINY)


def _away_from_zero(x: float) -> float:
    return x if abs(x) > _TINY else _TINY
