"""Which policy to take: the cheapest that is as good as the best, as far as a history tells, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from evergreen_ops.tune.measures import Measure, score

Floats = npt.NDArray[np.float64]
DRAWS = 2_000
LEVEL = 0.9
"""How often an interval holds what it is about."""
ALIKE = 1.1
"""Costs up to a tenth above the least are alike: what they save is not worth an answer that may be worse."""


@dataclass(frozen=True, slots=True)
class Recommendation:
    """Places of candidates, and what is known of the recommended one. Gains are above 0 where it is better.

    Attributes
    ----------
    chosen, best, runner_up : int
        The recommended one; the best; the best of the others.
    gap, standard_error : float
        What the best is better by, and how far that may be chance.
    gain, interval : float, (float, float)
        What the chosen one is better by than ``never``, and where that lies nine times of ten.
    sure_of_never, sure_of_runner_up : float
        The share of draws in which it is at least as good.
    """

    chosen: int
    best: int
    runner_up: int
    gap: float
    standard_error: float
    gain: float
    interval: tuple[float, float]
    sure_of_never: float
    sure_of_runner_up: float

    def to_json(self) -> dict[str, Any]:
        """Return plain data, without the places."""
        names = ("gap", "standard_error", "gain", "sure_of_never", "sure_of_runner_up")
        return {name: round(getattr(self, name), 6) for name in names} | {
            "interval": [round(end, 6) for end in self.interval]
        }


def front(costs: Sequence[float], goods: Sequence[float]) -> tuple[int, ...]:
    """Return the places of those that nothing cheaper is as good as, the cheapest first: the Pareto front.

    Parameters
    ----------
    costs, goods : sequence of float
        Less and more are better.

    Examples
    --------
    >>> front([0, 10, 10, 40], [0.7, 0.8, 0.75, 0.8])
    (0, 1)
    """
    kept: list[int] = []
    for place in sorted(range(len(costs)), key=lambda place: (costs[place], -goods[place])):
        if not kept or goods[place] > goods[kept[-1]]:
            kept.append(place)
    return tuple(kept)


def draw(measure: Measure, sums: Sequence[Floats], *, draws: int = DRAWS, seed: int = 0) -> Floats:
    """Draw blocks with replacement, the same ones for each candidate, and measure each draw.

    Parameters
    ----------
    measure : Measure
    sums : sequence of ndarray [B, S]
        Of each candidate, on the same blocks.

    Returns
    -------
    ndarray [C, draws]
        Signed, so that more is better.

    Examples
    --------
    >>> same = np.array([[2.0, 10.0], [4.0, 10.0]])
    >>> drawn = draw(Measure.MAE, [same, same + [[1.0, 0.0]]], draws=4)
    >>> drawn.shape, (drawn[0] - drawn[1]).round(3).tolist()
    ((2, 4), [0.1, 0.1, 0.1, 0.1])
    """
    blocks = len(sums[0])
    weights = np.random.default_rng(seed).multinomial(blocks, np.full(blocks, 1 / blocks), size=draws)
    return measure.sign * np.stack([score(measure, weights @ of_candidate) for of_candidate in sums])


def recommend(costs: Sequence[float], goods: Sequence[float], drawn: Floats, never: int) -> Recommendation:
    """Recommend the cheapest candidate within one standard error of the best; of costs that are alike, the better one.

    Parameters
    ----------
    costs : sequence of float
    goods : sequence of float
        More is better.
    drawn : ndarray [C, draws]
        The same of each draw.
    never : int
        The place of the candidate that is never trained again.

    Examples
    --------
    >>> drawn = np.array([[0.70, 0.71, 0.72], [0.80, 0.79, 0.82], [0.79, 0.81, 0.80]])
    >>> told = recommend([0.0, 5.0, 50.0], [0.71, 0.803, 0.805], drawn, never=0)
    >>> told.chosen, told.best, told.sure_of_never
    (1, 2, 1.0)
    """
    places = range(len(goods))
    best = max(places, key=lambda place: (goods[place], -costs[place]))
    errors = [float(np.std(drawn[best] - drawn[place])) for place in places]
    good_enough = [place for place in places if goods[best] - goods[place] <= errors[place]]
    least = min(costs[place] for place in good_enough)
    cheap = [place for place in good_enough if costs[place] <= ALIKE * least]
    chosen = max(cheap, key=lambda place: (goods[place], -costs[place]))
    others = [place for place in places if place != chosen]
    runner_up = max(others, key=lambda place: (goods[place], -costs[place])) if others else chosen
    against_never = drawn[chosen] - drawn[never]
    low, high = np.quantile(against_never, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Recommendation(
        chosen=chosen,
        best=best,
        runner_up=runner_up,
        gap=goods[best] - goods[chosen],
        standard_error=errors[chosen],
        gain=goods[chosen] - goods[never],
        interval=(float(low), float(high)),
        sure_of_never=float(np.mean(against_never >= 0)),
        sure_of_runner_up=float(np.mean(drawn[chosen] >= drawn[runner_up])),
    )
