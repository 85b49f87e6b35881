"""Functions run by AWS's own runtime client, in processes of their own."""

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from local_cloud.services.lambda_.invokers import DeployedFunction, InvocationResult
from local_cloud.services.lambda_.runtime_api import AwslambdaricInvoker, linked_packages

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ECHO = DeployedFunction(
    name="echo",
    arn="arn:aws:lambda:us-east-1:123456789012:function:echo",
    logical_id="EchoFunction",
    handler="app.handler",
    code_dir=Path(__file__).parent / "fixtures" / "echo",
    layer_dirs=(),
    environment={"TABLE": "ledger"},
    timeout_seconds=5.0,
    memory_mb=128,
)
HURRIED = dataclasses.replace(ECHO, timeout_seconds=0.5)


@pytest.fixture
def invoker() -> Iterator[AwslambdaricInvoker]:
    with AwslambdaricInvoker("http://localhost:4566") as invoker:
        yield invoker


def invoke(
    invoker: AwslambdaricInvoker,
    event: dict[str, Any],
    function: DeployedFunction = ECHO,
    request_id: str = "request-1",
) -> InvocationResult:
    return invoker.invoke(function, json.dumps(event).encode(), request_id=request_id, now=NOW)


def answer(result: InvocationResult) -> Any:
    assert result.error is None, result.payload
    return json.loads(result.payload)


def test_an_event_goes_in_and_the_answer_comes_out(invoker: AwslambdaricInvoker) -> None:
    told = answer(invoke(invoker, {"n": 1}, request_id="abc"))
    assert told["event"] == {"n": 1}
    assert told["request_id"] == "abc"


def test_the_process_is_kept_for_the_next_event(invoker: AwslambdaricInvoker) -> None:
    first, second = answer(invoke(invoker, {})), answer(invoke(invoker, {}))
    assert first["pid"] == second["pid"] != os.getpid()
    assert [first["calls"], second["calls"]] == [1, 2]
    assert [start.function for start in invoker.cold_starts] == ["echo"]
    assert 0 < invoker.cold_starts[0].seconds < 30


def test_each_invocation_has_its_own_output(invoker: AwslambdaricInvoker) -> None:
    assert invoke(invoker, {}).stdout == 'imported\n{"call": 1}\n'
    assert invoke(invoker, {}).stdout == '{"call": 2}\n'


def test_a_function_sees_its_variables_and_nothing_of_its_parent(
    invoker: AwslambdaricInvoker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the real one")
    monkeypatch.setenv("AWS_PROFILE", "production")
    environment = answer(invoke(invoker, {}))["environment"]
    assert environment["TABLE"] == "ledger"
    assert environment["AWS_ENDPOINT_URL"] == "http://localhost:4566"
    assert environment["LAMBDA_TASK_ROOT"] == str(ECHO.code_dir)
    assert environment["AWS_SECRET_ACCESS_KEY"] != "the real one"
    assert "AWS_PROFILE" not in environment


def test_an_exception_is_lambdas_error_document(invoker: AwslambdaricInvoker) -> None:
    result = invoke(invoker, {"raise": "no such model"})
    document = json.loads(result.payload)
    assert result.error == "Unhandled"
    assert (document["errorType"], document["errorMessage"]) == ("ValueError", "no such model")
    assert "ValueError: no such model" in result.stdout
    assert answer(invoke(invoker, {}))["calls"] == 2, "an exception does not end the process"


def test_a_function_out_of_time_is_killed_and_the_next_event_starts_anew(invoker: AwslambdaricInvoker) -> None:
    pid = answer(invoke(invoker, {}, HURRIED))["pid"]
    result = invoke(invoker, {"sleep": 60}, HURRIED, request_id="late")
    assert result.error == "Unhandled"
    assert json.loads(result.payload) == {
        "errorType": "Sandbox.Timedout",
        "errorMessage": "RequestId: late Error: Task timed out after 0.50 seconds",
    }
    assert result.stdout == '{"call": 2}\n'
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert answer(invoke(invoker, {"n": 2}, HURRIED))["event"] == {"n": 2}, "the dead process took no event"
    assert len(invoker.cold_starts) == 2


def test_a_function_that_ends_its_process_is_an_exit_error(invoker: AwslambdaricInvoker) -> None:
    result = invoke(invoker, {"exit": 3})
    assert json.loads(result.payload) == {
        "errorType": "Runtime.ExitError",
        "errorMessage": "RequestId: request-1 Error: Runtime exited with error: exit status 3",
    }
    for turn in range(5):
        assert answer(invoke(invoker, {"turn": turn}))["event"] == {"turn": turn}


def test_a_module_that_cannot_be_imported_is_an_init_error_each_time(invoker: AwslambdaricInvoker) -> None:
    broken = dataclasses.replace(ECHO, handler="broken.handler")
    for _ in range(2):
        result = invoke(invoker, {}, broken)
        document = json.loads(result.payload)
        assert result.error == "Unhandled"
        assert document["errorType"] == "Runtime.ImportModuleError"
        assert "package_that_is_not_there" in document["errorMessage"]


def test_a_missing_handler_is_named(invoker: AwslambdaricInvoker) -> None:
    result = invoke(invoker, {}, dataclasses.replace(ECHO, handler="app.nothing"))
    assert json.loads(result.payload)["errorType"] == "Runtime.HandlerNotFound"


def test_a_changed_function_gets_a_new_process(invoker: AwslambdaricInvoker) -> None:
    first = answer(invoke(invoker, {}))
    second = answer(invoke(invoker, {}, dataclasses.replace(ECHO, environment={"TABLE": "other"})))
    assert second["environment"]["TABLE"] == "other"
    with pytest.raises(ProcessLookupError):
        os.kill(first["pid"], 0)


def test_calls_at_the_same_time_get_processes_of_their_own(invoker: AwslambdaricInvoker) -> None:
    pair = dataclasses.replace(ECHO, handler="app.slow_pair")
    with ThreadPoolExecutor(2) as pool:
        pids = list(pool.map(lambda _: answer(invoke(invoker, {}, pair)), range(2)))
    assert len(set(pids)) == 2


def test_a_complete_build_needs_no_package_of_this_environment(tmp_path: Path) -> None:
    numpy_user = dataclasses.replace(ECHO, handler="app.needs_numpy")
    with AwslambdaricInvoker("http://localhost:4566", include_environment_packages=False) as alone:
        result = invoke(alone, {}, numpy_user)
        assert "No module named 'numpy'" in json.loads(result.payload)["errorMessage"]
        assert answer(invoke(alone, {}))["event"] == {}
        layer = linked_packages(["numpy"], tmp_path / "layer" / "python").parent
        built = dataclasses.replace(numpy_user, layer_dirs=(layer,))
        assert answer(invoke(alone, {}, built)) == "numpy"


def test_the_runtime_can_bring_boto3_as_on_aws() -> None:
    packages = ("awslambdaric", "boto3")
    with AwslambdaricInvoker(
        "http://localhost:4566", include_environment_packages=False, runtime_packages=packages
    ) as aws:
        uses_boto3 = dataclasses.replace(ECHO, handler="app.needs_boto3")
        assert answer(invoke(aws, {}, uses_boto3)) == "http://localhost:4566"


def test_nothing_is_left_running(tmp_path: Path) -> None:
    invoker = AwslambdaricInvoker("http://localhost:4566")
    pid = answer(invoke(invoker, {}))["pid"]
    invoker.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(RuntimeError, match="closed"):
        invoke(invoker, {})


def test_a_child_of_a_function_does_not_outlive_a_timeout(tmp_path: Path) -> None:
    code = tmp_path / "code"
    code.mkdir()
    (code / "app.py").write_text(
        "import subprocess, time\n"
        "def handler(event, context):\n"
        "    child = subprocess.Popen(['sleep', '60'])\n"
        f"    open({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid))\n"
        "    time.sleep(60)\n"
    )
    with AwslambdaricInvoker("http://localhost:4566") as invoker:
        invoke(invoker, {}, dataclasses.replace(ECHO, code_dir=code, timeout_seconds=1.0))
        assert not _runs(int((tmp_path / "pid").read_text()))


def test_a_function_does_not_outlive_a_killed_cloud() -> None:
    code = (
        "import dataclasses, json, os, pathlib, datetime\n"
        "from local_cloud.services.lambda_.invokers import DeployedFunction\n"
        "from local_cloud.services.lambda_.runtime_api import AwslambdaricInvoker\n"
        f"function = DeployedFunction('echo', {ECHO.arn!r}, 'Echo', 'app.handler',"
        f" pathlib.Path({str(ECHO.code_dir)!r}), (), {{}}, 5.0, 128)\n"
        "invoker = AwslambdaricInvoker('http://localhost:4566')\n"
        "result = invoker.invoke(function, b'{}', request_id='1', now=datetime.datetime.now(datetime.UTC))\n"
        "print(json.loads(result.payload)['pid'], flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    cloud = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert not _runs(int(cloud.stdout)), cloud.stderr


def _runs(pid: int) -> bool:
    for _ in range(20):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        stat = Path(f"/proc/{pid}/stat")
        if stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z":
            return False
        time.sleep(0.05)
    return True


def test_the_interpreter_is_this_one(invoker: AwslambdaricInvoker) -> None:
    version = f"AWS_Lambda_python{sys.version_info.major}.{sys.version_info.minor}"
    assert answer(invoke(invoker, {}))["environment"]["AWS_EXECUTION_ENV"] == version
