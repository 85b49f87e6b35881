"""Export a fitted recipe as one ONNX graph, and compare what the graph answers with what scikit-learn answers.

skl2onnx lays out the graph. Its own converter walks forests node by node in Python (15 microseconds each, a minute and
more for 200 deep trees), so the trees' tables are filled in here, a whole forest at a time, with numpy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from evergreen.model.schema import FeatureSchema
from evergreen.model.scorer import Artifact, Scorer
from evergreen.training.job import TrainingError
from evergreen.training.leaves import ForestLeaves, trees_of
from evergreen.training.read_rows import Rows
from evergreen.training.recipe import Fitted

__all__ = ["Agreement", "compare", "leaves_to_onnx", "to_onnx"]

TARGET_OPSET = {"": 17, "ai.onnx.ml": 3}
MAX_DIFFERENCE = 1e-5
MAX_DISAGREEING_SHARE = 1e-3
_FORESTS = (
    "RandomForestClassifier",
    "RandomForestRegressor",
    "ExtraTreesClassifier",
    "ExtraTreesRegressor",
    "DecisionTreeClassifier",
    "DecisionTreeRegressor",
    "ExtraTreeClassifier",
    "ExtraTreeRegressor",
)
_FOREST_NODE = "EvergreenForest"
_COMPARED_ROWS = 20_000


@dataclass(frozen=True)
class Agreement:
    """How far the graph's answers are from scikit-learn's, on real rows.

    Parameters
    ----------
    rows
        Rows compared.
    max_difference
        The largest difference of a probability; for regression relative to the label's spread.
    disagreeing_share
        The share of rows whose label differs (ties apart) or whose difference is above 1e-5.
    """

    rows: int
    max_difference: float
    disagreeing_share: float


def to_onnx(fitted: Fitted, schema: FeatureSchema) -> bytes:
    """Export preparation and estimator as one graph with one input ``[N, 1]`` per feature, named as the feature.

    Returns
    -------
    bytes
        model.onnx, the same bytes for the same fitted recipe.

    Raises
    ------
    TrainingError
        skl2onnx can't convert the estimator.
    """
    from skl2onnx import convert_sklearn
    from skl2onnx.common.shape_calculator import (
        calculate_linear_classifier_output_shapes,
        calculate_linear_regressor_output_shapes,
    )

    name, kind = type(fitted.estimator).__name__, type(fitted.estimator)
    classifies = schema.task.is_classification
    shapes = calculate_linear_classifier_output_shapes if classifies else calculate_linear_regressor_output_shapes
    forest = name in _FORESTS
    try:
        graph = convert_sklearn(
            fitted.pipeline(),
            name="evergreen",
            initial_types=_inputs(fitted),
            options={id(fitted.estimator): {"zipmap": False}} if classifies else None,
            target_opset=TARGET_OPSET,
            custom_conversion_functions={kind: _place_forest} if forest else None,
            custom_shape_calculators={kind: shapes} if forest else None,
        )
    except Exception as error:  # skl2onnx raises RuntimeError, NotImplementedError, AttributeError ... by estimator
        raise TrainingError(
            f"{name} cannot be exported to ONNX (endpoint kind lambda needs it): {' '.join(str(error).split())[:300]}; "
            "choose a RandomForest, ExtraTrees, GradientBoosting or linear estimator"
        ) from error
    if forest:
        _fill_forest(graph, fitted.estimator)
    if fitted.classes is not None and schema.classes is not None and fitted.classes != schema.classes:
        _widen(graph, fitted.classes, schema.classes)
    exported: bytes = graph.SerializeToString(deterministic=True)
    return exported


def leaves_to_onnx(fitted: Fitted, leaves: ForestLeaves) -> bytes:
    """Export preparation and trees as a graph that answers which leaf of each tree a row falls into.

    Returns
    -------
    bytes
        A graph with the inputs of :func:`to_onnx` and one output, ``leaves``: float32 ``[N, T]``, places in the leaves'
        table, which float32 holds exactly up to 16.7 million leaves.
    """
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.dummy import DummyRegressor  # stands where the forest stands in the pipeline

    trees = len(leaves.starts)

    def shapes(operator: Any) -> None:
        operator.outputs[0].type = FloatTensorType([None, trees])

    def place(scope: Any, operator: Any, container: Any) -> None:
        container.add_node(
            "TreeEnsembleRegressor",
            operator.inputs[0].full_name,
            operator.outputs[0].full_name,
            op_domain="ai.onnx.ml",
            op_version=3,
            name=_FOREST_NODE,
            n_targets=trees,
            post_transform="NONE",
        )

    pipeline = fitted.pipeline()
    pipeline.steps[-1] = ("estimator", DummyRegressor())
    graph = convert_sklearn(
        pipeline,
        name="evergreen",
        initial_types=_inputs(fitted),
        target_opset=TARGET_OPSET,
        custom_conversion_functions={DummyRegressor: place},
        custom_shape_calculators={DummyRegressor: shapes},
    )
    nodes = _nodes(fitted.estimator)
    is_leaf = nodes["nodes_modes"] == b"LEAF"
    tree_of = nodes["nodes_treeids"][is_leaf]
    answers = {
        "target_treeids": tree_of,
        "target_nodeids": nodes["nodes_nodeids"][is_leaf],
        "target_ids": tree_of,
        "target_weights": np.arange(len(tree_of), dtype=np.float32),
    }
    _set_attributes(next(node for node in graph.graph.node if node.name == _FOREST_NODE), nodes | answers)
    exported: bytes = graph.SerializeToString(deterministic=True)
    return exported


def _inputs(fitted: Fitted) -> list[tuple[str, Any]]:
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType

    numbers = [(number, FloatTensorType([None, 1])) for number in fitted.preparation.numbers]
    return numbers + [(category, StringTensorType([None, 1])) for category in fitted.preparation.categoricals]


def compare(onnx: bytes, fitted: Fitted, schema: FeatureSchema, rows: Rows) -> Agreement:
    """Score rows with both runtimes and fail when they disagree on more than one row in a thousand.

    Raises
    ------
    TrainingError
        They do: the exported model is not the trained one.
    """
    if len(rows) > _COMPARED_ROWS:
        rows = rows.take(np.linspace(0, len(rows) - 1, _COMPARED_ROWS).astype(np.int64))
    columns = rows.columns()
    try:
        scorer = Scorer(Artifact(onnx, {}, schema))
        answered = scorer.score(columns)
        named = scorer.graph_labels(columns) if schema.task.is_classification else []
    except Exception as error:  # ONNX Runtime's own types derive from nothing but Exception
        raise TrainingError(
            f"ONNX Runtime can't run the exported {type(fitted.estimator).__name__}: "
            f"{' '.join(str(error).split())[:300]}; choose another estimator"
        ) from error
    matrix = fitted.preparation.matrix(rows)
    if answered.probabilities is not None and schema.classes is not None:
        expected = fitted.probabilities(matrix, schema.classes)
        difference = np.abs(answered.probabilities - expected).max(axis=1)
        ordered = np.sort(expected, axis=1)
        clear = ordered[:, -1] - ordered[:, -2] > 2 * MAX_DIFFERENCE
        labels = np.array(schema.classes, dtype=object)[expected.argmax(axis=1)]
        differ = np.zeros(len(rows), dtype=bool)
        for given in (answered.labels or [], named):
            differ |= labels != np.array(given, dtype=object)
        disagrees = ~(difference <= MAX_DIFFERENCE) | (differ & clear)
    else:
        expected = fitted.values(matrix)
        spread = max(float(np.std(expected)), float(np.abs(expected).mean()), 1e-12)
        values = answered.values if answered.values is not None else np.full(len(rows), np.nan)
        difference = np.abs(values - expected) / spread
        disagrees = ~(difference <= MAX_DIFFERENCE)
    agreement = Agreement(len(rows), float(f"{difference.max():.3g}"), round(float(disagrees.mean()), 6))
    if agreement.disagreeing_share > MAX_DISAGREEING_SHARE:
        raise TrainingError(
            f"ONNX Runtime and scikit-learn disagree on {agreement.disagreeing_share:.2%} of {len(rows)} rows (at most "
            f"{agreement.max_difference:g} apart), above {MAX_DISAGREEING_SHARE:.1%}; choose another estimator"
        )
    return agreement


def _place_forest(scope: Any, operator: Any, container: Any) -> None:
    """Put an empty tree node where the forest goes (skl2onnx's converter signature)."""
    classes = getattr(operator.raw_operator, "classes_", None)
    attributes: dict[str, Any] = {"post_transform": "NONE"}
    if classes is None:
        attributes["n_targets"] = 1
    else:
        attributes["classlabels_strings"] = [str(label) for label in classes]
    container.add_node(
        "TreeEnsembleRegressor" if classes is None else "TreeEnsembleClassifier",
        operator.inputs[0].full_name,
        [output.full_name for output in operator.outputs],
        op_domain="ai.onnx.ml",
        op_version=3,
        name=_FOREST_NODE,
        **attributes,
    )


def _nodes(estimator: Any) -> dict[str, npt.NDArray[Any]]:
    """The trees of a forest as the flat tables of TreeEnsemble (ai.onnx.ml version 3)."""
    trees = trees_of(estimator)
    sizes = np.array([tree.node_count for tree in trees], dtype=np.int64)
    left = np.concatenate([tree.children_left for tree in trees])
    leaf = left < 0
    return {
        "nodes_treeids": np.repeat(np.arange(len(trees)), sizes),
        "nodes_nodeids": np.concatenate([np.arange(size) for size in sizes]),
        "nodes_featureids": np.where(leaf, 0, np.concatenate([tree.feature for tree in trees])),
        "nodes_truenodeids": np.where(leaf, 0, left),
        "nodes_falsenodeids": np.where(leaf, 0, np.concatenate([tree.children_right for tree in trees])),
        "nodes_values": np.where(leaf, 0.0, _rounded_down(np.concatenate([tree.threshold for tree in trees]))),
        "nodes_modes": np.where(leaf, b"LEAF", b"BRANCH_LEQ").astype(object),
    }


def _fill_forest(graph: Any, estimator: Any) -> None:
    """Write all trees of a forest into its node."""
    trees, nodes = trees_of(estimator), _nodes(estimator)
    leaf = nodes["nodes_modes"] == b"LEAF"
    answers = np.concatenate([tree.value[:, 0, :] for tree in trees])[leaf]
    if hasattr(estimator, "classes_"):
        shares = answers / answers.sum(axis=1, keepdims=True) / len(trees)
        if shares.shape[1] == 2:
            # Two classes: ONNX Runtime sums the second one's share and answers the first as its complement.
            which, label, weight = np.arange(len(shares)), np.zeros(len(shares), dtype=np.int64), shares[:, 1]
        else:
            which, label = np.nonzero(shares)
            weight = shares[which, label]
        prefix = "class"
    else:
        which, label = np.arange(len(answers)), np.zeros(len(answers), dtype=np.int64)
        weight, prefix = answers[:, 0] / len(trees), "target"
    nodes |= {
        f"{prefix}_treeids": nodes["nodes_treeids"][leaf][which],
        f"{prefix}_nodeids": nodes["nodes_nodeids"][leaf][which],
        f"{prefix}_ids": label,
        f"{prefix}_weights": weight,
    }
    _set_attributes(next(node for node in graph.graph.node if node.name == _FOREST_NODE), nodes)


def _widen(graph: Any, seen: tuple[str, ...], classes: tuple[str, ...]) -> None:
    """Give a class that no training row had its column of the probabilities: zeros."""
    from onnx import helper, numpy_helper

    place = np.zeros((len(seen), len(classes)), dtype=np.float32)
    place[range(len(seen)), [classes.index(label) for label in seen]] = 1
    node = next(node for node in graph.graph.node if "probabilities" in node.output)
    node.output[list(node.output).index("probabilities")] = "seen_probabilities"
    for reader in graph.graph.node:
        for index, name in enumerate(reader.input):
            if name == "probabilities":
                reader.input[index] = "seen_probabilities"
    graph.graph.initializer.append(numpy_helper.from_array(place, "class_places"))
    graph.graph.node.append(
        helper.make_node("MatMul", ["seen_probabilities", "class_places"], ["probabilities"], name="Widen")
    )
    output = next(output for output in graph.graph.output if output.name == "probabilities")
    output.type.tensor_type.shape.dim[1].dim_value = len(classes)


def _set_attributes(node: Any, tables: dict[str, npt.NDArray[Any]]) -> None:
    from onnx import AttributeProto

    for name in sorted(tables):
        table = tables[name]
        if table.dtype == object:
            attribute = AttributeProto(name=name, type=AttributeProto.STRINGS, strings=table.tolist())
        elif np.issubdtype(table.dtype, np.floating):
            attribute = AttributeProto(name=name, type=AttributeProto.FLOATS, floats=table.tolist())
        else:
            attribute = AttributeProto(name=name, type=AttributeProto.INTS, ints=table.tolist())
        node.attribute.append(attribute)


def _rounded_down(thresholds: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Return the largest float32 not above each threshold, so that ``x <= threshold`` stays what it was for float32."""
    nearest = thresholds.astype(np.float32)
    rounded: npt.NDArray[np.float32] = np.where(
        nearest > thresholds, np.nextafter(nearest, np.float32(-np.inf)), nearest
    )
    return rounded
