"""Models of a few nodes, made in a millisecond: what answers, what fails for some rows, what never ends."""

import json

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from evergreen.model.archive import pack
from evergreen.model.schema import FeatureSchema

SCHEMA = FeatureSchema.of("binary", {"age": "number", "plan": "categorical"}, ["0", "1"])
ROW = {"age": 41, "plan": "a"}
NEVER = 10**15


def a_model(tipping_age, rows=None, *, oldest=None, rounds=0, slow_above=None):
    """Says 1 with certainty above an age.

    With `rows`, it fails on any other number of rows; with `oldest`, on rows that are older; with `rounds`, it counts
    to as many before it answers, to `NEVER` for ever; with `slow_above`, only for rows that are older.
    """
    constants = {
        "tip": np.float32([[tipping_age]]),
        "one": np.float32([[1]]),
        "shape": np.int64([-1 if rows is None else rows, 2]),
    }
    nodes = [
        helper.make_node("Greater", ["age", "tip"], ["older"]),
        helper.make_node("Cast", ["older"], ["p0"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["one", "p"], ["q"]),
        helper.make_node("Concat", ["q", "p"], ["both"], axis=1),
        helper.make_node("Reshape", ["both", "shape"], ["probabilities"]),
    ]
    added = ["p0"]
    if oldest is not None:
        constants["known"] = np.zeros(oldest + 1, dtype=np.float32)
        nodes[2:2] = [
            helper.make_node("Cast", ["age"], ["whole"], to=TensorProto.INT64),
            helper.make_node("Gather", ["known", "whole"], ["nothing"]),
        ]
        added.append("nothing")
    if rounds:
        constants |= {"rounds": np.int64(rounds), "go": np.bool_(True), "zero": np.float32([[0]])}
        body = helper.make_graph(
            [helper.make_node("Identity", ["c"], ["on"]), helper.make_node("Mul", ["v", "v"], ["w"])],
            "counting",
            [
                helper.make_tensor_value_info("i", TensorProto.INT64, []),
                helper.make_tensor_value_info("c", TensorProto.BOOL, []),
                helper.make_tensor_value_info("v", TensorProto.FLOAT, [1, 1]),
            ],
            [
                helper.make_tensor_value_info("on", TensorProto.BOOL, []),
                helper.make_tensor_value_info("w", TensorProto.FLOAT, [1, 1]),
            ],
        )
        turns = "rounds"
        if slow_above is not None:
            constants["slow"], turns = np.float32([[slow_above]]), "turns"
            nodes[2:2] = [
                helper.make_node("Greater", ["age", "slow"], ["late"]),
                helper.make_node("Cast", ["late"], ["each"], to=TensorProto.INT64),
                helper.make_node("ReduceMax", ["each"], ["any"], keepdims=0),
                helper.make_node("Mul", ["any", "rounds"], ["turns"]),
            ]
        counting = helper.make_node("Loop", [turns, "go", "zero"], ["counted"], body=body)
        nodes.insert(2 if slow_above is None else 6, counting)
        added.append("counted")
    nodes.insert(-3, helper.make_node("Sum", added, ["p"]))
    graph = helper.make_graph(
        nodes,
        "churn",
        [helper.make_tensor_value_info("age", TensorProto.FLOAT, [None, 1])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 2])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return pack({"model.onnx": model.SerializeToString(), "model.json": json.dumps(SCHEMA.to_json()).encode()})
