"""Draw how often an equal candidate is promoted by luck, against how often it is looked at.

    uv run python docs/figures/false_promotions.py [--repetitions 20000] [--out docs/figures]

writes false_promotions.svg and, with the numbers behind it, false_promotions.csv. The same bytes each time.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from scipy.stats import binom

from evergreen.statistics.sequential import Verdict, shadow_verdict

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

SEED = 2024
LOOKS = 100
ROWS_A_LOOK = 200
DISCORDANCE = 0.10
"""Share of the requests that exactly one of the two versions gets right."""

GAIN_OF_THE_TUTORIAL = 0.02
P_VALUE = 0.05
COLOURS = {"tutorial": "#d9822b", "mcnemar": "#a371f7", "evergreen": "#2da44e"}
NAMES = {
    "tutorial": "shadow's accuracy > production's + 0.02",
    "mcnemar": "McNemar's test, p < 0.05",
    "evergreen": "Evergreen",
}
INK = "#7d8590"
"""Legible on white and on black."""


def wins_needed(most: int) -> Ints:
    """For each number of differing answers, the fewest wins that `shadow_verdict` promotes; more than all if none."""
    needed = np.empty(most + 1, dtype=np.int64)
    wins = 0
    for differing in track(range(most + 1), description="asking shadow_verdict"):
        # One more differing answer never lowers what is needed: it may be a loss.
        while wins <= differing and shadow_verdict(wins, differing - wins, 0).verdict is not Verdict.PROMOTE:
            wins += 1
        needed[differing] = wins
    return needed


def false_promotions(repetitions: int) -> dict[str, Floats]:
    """Return the share of equal candidates that each rule has promoted by each look, shape (looks,)."""
    rng = np.random.default_rng(SEED)
    differing = rng.binomial(ROWS_A_LOOK, DISCORDANCE, size=(repetitions, LOOKS))
    wins = rng.binomial(differing, 0.5).cumsum(axis=1)
    differing = differing.cumsum(axis=1)
    losses = differing - wins
    rows = ROWS_A_LOOK * np.arange(1, LOOKS + 1)
    two_sided = 2.0 * binom.sf(wins - 1, differing, 0.5)
    promoted = {
        "tutorial": (wins - losses) / rows > GAIN_OF_THE_TUTORIAL,
        "mcnemar": (wins > losses) & (two_sided < P_VALUE),
        "evergreen": wins >= wins_needed(int(differing.max()))[differing],
    }
    return {rule: np.maximum.accumulate(at, axis=1).mean(axis=0) for rule, at in promoted.items()}


def write_table(rates: dict[str, Floats], path: Path) -> None:
    """Write one line a look."""
    with path.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["looks", "rows", *rates])
        for look in range(LOOKS):
            table.writerow([look + 1, (look + 1) * ROWS_A_LOOK, *(f"{rates[rule][look]:.5f}" for rule in rates)])


def draw(rates: dict[str, Floats], path: Path) -> None:
    """Draw the rates over the looks, both on logarithmic axes."""
    mpl.use("svg")
    from matplotlib import pyplot as plt

    style = {
        "svg.hashsalt": "evergreen",
        "svg.fonttype": "path",
        "font.size": 10.5,
        "text.color": INK,
        "axes.edgecolor": INK,
        "axes.labelcolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
    }
    with mpl.rc_context(style):
        figure, axes = plt.subplots(figsize=(7.6, 4.3), layout="constrained")
        looks = np.arange(1, LOOKS + 1)
        for rule, rate in rates.items():
            axes.plot(looks, np.where(rate > 0, rate, np.nan), color=COLOURS[rule], linewidth=2.4)
        axes.axhline(0.01, color=INK, linewidth=1, linestyle=(0, (5, 4)))
        axes.set(xscale="log", yscale="log", xlim=(1, LOOKS), ylim=(1e-4, 1.0))
        axes.set_xlabel(f"looks at an equal candidate (one every {ROWS_A_LOOK} labelled requests)")
        axes.set_ylabel("promoted by luck")
        axes.set_xticks([1, 2, 5, 10, 20, 50, 100], ["1", "2", "5", "10", "20", "50", "100"])
        axes.set_yticks([0.001, 0.01, 0.1, 1.0], ["0.1 %", "1 %", "10 %", "100 %"])
        axes.minorticks_off()
        axes.spines[["top", "right"]].set_visible(False)
        _label(axes, rates)
        figure.savefig(path, format="svg", transparent=True, metadata={"Date": None})
        plt.close(figure)


def _label(axes: mpl.axes.Axes, rates: dict[str, Floats]) -> None:
    """Name each line beside itself, with where it ends."""
    for rule, at, above in (("tutorial", 3, True), ("mcnemar", 5, False), ("evergreen", 12, False)):
        axes.annotate(
            f"{NAMES[rule]}: {100 * rates[rule][-1]:.1f} % after {LOOKS} looks",
            (at, float(rates[rule][at - 1]) or 1e-3),
            xytext=(0, 9 if above else -9),
            textcoords="offset points",
            color=COLOURS[rule],
            va="bottom" if above else "top",
        )
    below = {"xytext": (0, -4), "textcoords": "offset points", "va": "top", "ha": "right"}
    axes.annotate("1 %, the rate asked for", (LOOKS, 0.01), **below)


def main() -> None:
    """Simulate, draw, and write the numbers beside the drawing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=20_000, help="candidates simulated (20000)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder to write to")
    asked = parser.parse_args()
    rates = false_promotions(asked.repetitions)
    asked.out.mkdir(parents=True, exist_ok=True)
    write_table(rates, asked.out / "false_promotions.csv")
    draw(rates, asked.out / "false_promotions.svg")
    for rule, rate in rates.items():
        line = f"{NAMES[rule]}: {100 * rate[0]:.2f} % at one look, {100 * rate[-1]:.2f} % after {LOOKS}"
        Console().print(line, highlight=False)


if __name__ == "__main__":
    main()
