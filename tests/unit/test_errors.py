"""Every error that is raised on purpose says what the `evergreen` command exits with."""

import importlib
import pkgutil

import pytest

import evergreen
import evergreen_ops
from evergreen.errors import EvergreenError, UsageError
from evergreen_ops import cli


def errors():
    """Every class of both packages that is named like an error."""
    for package in (evergreen, evergreen_ops):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if module.name != "evergreen_ops.__main__":  # it runs the command
                importlib.import_module(module.name)
    found = dict.fromkeys(kinds(Exception))
    ours = [kind for kind in found if kind.__module__.partition(".")[0] in ("evergreen", "evergreen_ops")]
    return sorted(
        (kind for kind in ours if kind.__name__.endswith("Error")),
        key=lambda kind: f"{kind.__module__}.{kind.__name__}",
    )


def kinds(kind):
    for below in type.__subclasses__(kind):
        yield below
        yield from kinds(below)


def test_every_error_of_ours_says_its_exit_code():
    found = errors()
    assert len(found) > 35
    strangers = [f"{kind.__module__}.{kind.__name__}" for kind in found if not issubclass(kind, EvergreenError)]
    assert strangers == []
    assert {kind.exit_code for kind in found} == {1, 2}


def test_what_can_not_be_asked_so_exits_with_2_and_anything_else_with_1():
    wrong_use = {kind.__name__ for kind in errors() if kind.exit_code == 2}
    assert wrong_use == {
        "DriftError",
        "PolicyError",
        "SpecError",
        "StatisticsInputError",
        "StreamError",
        "TableError",
        "UsageError",
    }
    assert all(issubclass(kind, UsageError) for kind in errors() if kind.exit_code == 2)


@pytest.mark.parametrize("kind", [ValueError, RuntimeError, FileNotFoundError, KeyError])
def test_a_defect_of_ours_has_no_exit_code_and_is_shown_whole(kind):
    assert cli._exit_code(kind("a defect")) is None


@pytest.mark.parametrize(
    ("module", "name", "code"),
    [
        ("kernel.errors", "LocalCloudError", 1),
        ("kernel.errors", "CloudAlreadyOpenError", 1),
        ("kernel.errors", "TemplateError", 2),
        ("services.mlflow.server", "MlflowServerError", 1),
    ],
)
def test_what_the_local_cloud_refuses_has_one_too(module, name, code):
    kind = getattr(importlib.import_module(f"local_cloud.{module}"), name)
    assert cli._exit_code(kind.__new__(kind)) == code
