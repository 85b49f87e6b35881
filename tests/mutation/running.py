"""Run tests in copies of the tree, each in a process of its own that starts with the libraries loaded."""

import importlib.util
import multiprocessing
import os
import shutil
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from places import SOURCES

COPIED = ("layers", "infra", "functions", "tests", "docs", "pyproject.toml", "template.yaml", "README.md")
# What most of the tests import, nothing of ours among it: a process starts with these in place of loading them.
LIBRARIES = (
    "_pytest.pytester",
    "aws_lambda_powertools",
    "boto3",
    "hypothesis.stateful",
    "moto.server",
    "numpy",
    "onnxruntime",
    "pandas",
    "pyarrow.parquet",
    "pydantic",
    "pytest",
    "samtranslator",
    "scipy.stats",
    "skl2onnx",
    "sklearn.ensemble",
)


class NotRunError(Exception):
    """Tests could not be run, or fail without any mutant."""


@dataclass(frozen=True, slots=True)
class Run:
    """What became of tests: the first one that failed, if any did, and the processor time that it took."""

    failed: str | None
    seconds: float


class Bench:
    """A copy of the tree, and processes that each try one change of it, as many at a time as there are processors."""

    def __init__(self, tree: Path, pool: ProcessPoolExecutor):
        self._tree = tree
        self._pool = pool

    def require_passing(self, tests: Iterable[str]) -> float:
        """Run tests without any change; answers the processor time that they took.

        Raises
        ------
        NotRunError
            One of them fails.
        """
        files = defaultdict(set)
        for test in tests:
            files[test.partition("::")[0]].add(test)
        # In the copy itself: the bytecode that this leaves there serves all the other runs.
        runs = self._pool.map(_in_place, [self._tree] * len(files), [tuple(sorted(some)) for some in files.values()])
        seconds = 0.0
        for run in runs:
            if run.failed is not None:
                raise NotRunError(f"{run.failed} fails without any mutant: repair it first")
            seconds += run.seconds
        return seconds

    def tried[Key](self, changes: Mapping[Key, tuple[dict[str, str], tuple[str, ...]]]) -> Iterator[tuple[Key, Run]]:
        """Run each change's tests with its texts in place of the files', and tell of each run as it ends."""
        running = {
            self._pool.submit(_in_a_copy, self._tree, texts, tests): key for key, (texts, tests) in changes.items()
        }
        for future in as_completed(running):
            yield running[future], future.result()


@contextmanager
def bench(root: Path) -> Iterator[Bench]:
    """Copy what tests need, and stop what still runs at the end."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(LIBRARIES))
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        tree.mkdir()
        for name in COPIED:
            if (root / name).is_dir():
                shutil.copytree(root / name, tree / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
            else:
                shutil.copy(root / name, tree / name)
        pool = ProcessPoolExecutor(os.cpu_count(), mp_context=context, max_tasks_per_child=1)
        try:
            yield Bench(tree, pool)
        finally:
            pool.shutdown(cancel_futures=True)


def _in_a_copy(pristine: Path, texts: dict[str, str], tests: tuple[str, ...]) -> Run:
    with tempfile.TemporaryDirectory(dir=pristine.parent) as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(pristine, tree, copy_function=os.link)
        for file, text in texts.items():
            (tree / file).unlink()  # a link: the others keep theirs
            Path(importlib.util.cache_from_source(str(tree / file))).unlink(missing_ok=True)
            (tree / file).write_text(text)
        return _in_place(tree, tests)


def _in_place(tree: Path, tests: tuple[str, ...]) -> Run:
    """The first of the tests that fails in the tree. Takes the process: it moves there and speaks no more."""
    import pytest

    paths = [str(tree / source) for source in SOURCES]
    sys.path[:0] = paths
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    os.environ["PYTEST_XDIST_AUTO_NUM_WORKERS"] = "0"  # where pytest takes several processes, this one is enough
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    os.chdir(tree)
    first = _FirstFailure()
    with tempfile.TemporaryDirectory() as temporary, tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
        options = ["-x", "-q", "--show-capture=no", "--tb=line", "-p", "no:cacheprovider", f"--basetemp={temporary}/t"]
        code = pytest.main([*options, *tests], plugins=[first])
        if code != (pytest.ExitCode.OK if first.test is None else pytest.ExitCode.TESTS_FAILED):
            sys.stdout.flush()
            said.seek(0)
            raise NotRunError(f"{', '.join(tests)} did not run: {said.read().decode(errors='replace')[-2_000:]}")
    return Run(first.test, sum(os.times()[:4]))


class _FirstFailure:
    """A pytest plugin that keeps the name of the first test that fails."""

    test: str | None = None

    def pytest_runtest_logreport(self, report):
        if report.failed and self.test is None:
            self.test = report.nodeid
