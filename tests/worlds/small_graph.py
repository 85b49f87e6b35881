"""A model that was never trained: a graph of four nodes, made at once, that says 1 with certainty above 40."""

import json

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from evergreen.model.schema import FeatureSchema

SCHEMA = FeatureSchema.of("binary", {"age": "number", "plan": "categorical"}, ["0", "1"])


def a_classifier():
    """The graph, for the features and classes of SCHEMA."""
    nodes = [
        helper.make_node("Greater", ["age", "tip"], ["older"]),
        helper.make_node("Cast", ["older"], ["p"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["one", "p"], ["q"]),
        helper.make_node("Concat", ["q", "p"], ["probabilities"], axis=1),
    ]
    constants = {"tip": np.float32([[40]]), "one": np.float32([[1]])}
    return graph(nodes, ("probabilities", 2), [numpy_helper.from_array(v, name) for name, v in constants.items()])


def graph(nodes, output, constants=()):
    """A graph of nodes that takes an age, as model.onnx holds it."""
    content = helper.make_graph(
        nodes,
        "churn",
        [helper.make_tensor_value_info("age", TensorProto.FLOAT, [None, 1])],
        [helper.make_tensor_value_info(output[0], TensorProto.FLOAT, [None, output[1]])],
        list(constants),
    )
    return helper.make_model(content, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def files(schema=SCHEMA, onnx=None, **facts):
    """The files of an artifact that answer requests."""
    document = {**schema.to_json(), **facts}
    return {"model.onnx": onnx or a_classifier(), "model.json": json.dumps(document).encode()}
