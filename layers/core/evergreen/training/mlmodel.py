"""A version as an MLflow model: what ``mlflow.onnx.save_model`` would write around model.onnx, without loading it.

update_registry makes the models of runs that MLflow missed, in a function that has neither ONNX nor numpy; so this
needs the standard library and PyYAML, which MLflow's own client brings along.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["MLMODEL", "graph_inputs", "mlflow_model", "signature"]

MLMODEL = "MLmodel"
MLFLOW_VERSION = "3.17.2"
ONNX_FILE = "model.onnx"
EXAMPLE_FILE = "input_example.json"
_PYTHON = "3.13"
_LOADED_WITH = (f"mlflow=={MLFLOW_VERSION}", "onnx", "onnxruntime")
_NUMBER = "number"
# Of onnx.proto: ModelProto.graph, GraphProto.input, ValueInfoProto.name.
_GRAPH, _INPUT, _NAME = 7, 11, 1
_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5


def mlflow_model(files: Mapping[str, bytes], *, model_id: str = "", run_id: str = "", time: str) -> dict[str, bytes]:
    """Return the files of an MLflow model, which ``mlflow.onnx`` and ``mlflow.pyfunc`` load.

    Parameters
    ----------
    files
        The artifact: model.onnx, model.json, reference.json; they are kept as they are.
    model_id, run_id
        What the model is called by MLflow, where it is logged.
    time
        When it was logged, ``2026-03-01 02:00:00``, UTC.

    Returns
    -------
    dict of bytes
        By name: the artifact's own, MLmodel, an input example and what to install. The example is made up: zeros and
        empty texts, never a row of somebody's.

    Examples
    --------
    >>> facts = b'{"task": "regression", "features": [{"name": "age", "type": "number"}], "classes": null}'
    >>> sorted(mlflow_model({"model.onnx": b"", "model.json": facts}, time="2026-03-01 02:00:00"))
    ['MLmodel', 'conda.yaml', 'input_example.json', 'model.json', 'model.onnx', 'python_env.yaml', 'requirements.txt']
    """
    import yaml

    facts = json.loads(files["model.json"])
    inputs = _inputs(facts, files[ONNX_FILE])
    environment = {"conda": "conda.yaml", "virtualenv": "python_env.yaml"}
    described = {
        "artifact_path": model_id and f"models:/{model_id}",
        "flavors": {
            "onnx": {"code": None, "data": ONNX_FILE, "providers": ["CPUExecutionProvider"]},
            "python_function": {
                "data": ONNX_FILE,
                "env": environment,
                "loader_module": "mlflow.onnx",
                "python_version": _PYTHON,
            },
        },
        "mlflow_version": MLFLOW_VERSION,
        "model_id": model_id or None,
        "model_size_bytes": sum(map(len, files.values())),
        "run_id": run_id or None,
        "saved_input_example_info": {"artifact_path": EXAMPLE_FILE, "type": "ndarray"},
        "signature": signature(facts, files[ONNX_FILE]),
        "utc_time_created": time,
    }
    conda = {
        "channels": ["conda-forge"],
        "dependencies": [f"python={_PYTHON}", "pip", {"pip": list(_LOADED_WITH)}],
        "name": "mlflow-env",
    }
    python = {"python": _PYTHON, "build_dependencies": ["pip"], "dependencies": ["-r requirements.txt"]}
    example = {name: [[0.0 if kind == _NUMBER else ""]] for name, kind in inputs.items()}
    return {
        **files,
        MLMODEL: yaml.safe_dump(described).encode(),
        EXAMPLE_FILE: json.dumps(example).encode(),
        "requirements.txt": ("\n".join(_LOADED_WITH) + "\n").encode(),
        "python_env.yaml": yaml.safe_dump(python, sort_keys=False).encode(),
        "conda.yaml": yaml.safe_dump(conda, sort_keys=False).encode(),
    }


def signature(facts: Mapping[str, Any], onnx: bytes) -> dict[str, Any]:
    """Return MLflow's signature of a model: one tensor ``[-1, 1]`` a feature that the graph reads, and its answers.

    Examples
    --------
    >>> facts = {"task": "binary", "features": [{"name": "plan", "type": "categorical"}], "classes": ["0", "1"]}
    >>> [tensor["name"] for tensor in json.loads(signature(facts, b"")["outputs"])]
    ['label', 'probabilities']
    """
    inputs = _inputs(facts, onnx)
    asked = [_tensor(name, "float32" if kind == _NUMBER else "str", -1, 1) for name, kind in inputs.items()]
    classes = facts.get("classes")
    if classes is None:
        answered = [_tensor("variable", "float32", -1, 1)]
    else:
        answered = [_tensor("label", "object", -1), _tensor("probabilities", "float32", -1, len(classes))]
    return {"inputs": json.dumps(asked), "outputs": json.dumps(answered), "params": None}


def graph_inputs(onnx: bytes) -> tuple[str, ...]:
    """Return the names of a graph's inputs; none for bytes that are no graph.

    The converter drops an input that no part of the model reads, and ONNX Runtime refuses one that it does not know.

    Examples
    --------
    >>> graph_inputs(bytes([58, 7, 90, 5, 10, 3]) + b"age")
    ('age',)
    """
    try:
        return tuple(
            name.decode()
            for graph in _fields(onnx, _GRAPH)
            for value in _fields(graph, _INPUT)
            for name in _fields(value, _NAME)
        )
    except (IndexError, ValueError):
        return ()


def _inputs(facts: Mapping[str, Any], onnx: bytes) -> dict[str, str]:
    """The kind of each feature that the graph reads."""
    read = graph_inputs(onnx)
    return {f["name"]: f["type"] for f in facts["features"] if not read or f["name"] in read}


def _tensor(name: str, dtype: str, *shape: int) -> dict[str, Any]:
    return {"name": name, "type": "tensor", "tensor-spec": {"dtype": dtype, "shape": list(shape)}}


def _fields(message: bytes, wanted: int) -> Iterator[bytes]:
    """The fields of a protobuf message that have a length, by their number."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == _LENGTH:
            length, at = _varint(message, at)
            if key >> 3 == wanted:
                yield message[at : at + length]
            at += length
        elif kind == _VARINT:
            _, at = _varint(message, at)
        elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
            at += 8 if kind == _EIGHT_BYTES else 4
        else:
            raise ValueError(f"field kind {kind} is none of protobuf's")


def _varint(message: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = message[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return number, at
