"""The limits that the API's document states are those that the code keeps."""

from evergreen.formats.requests import LONGEST_ID, MAX_BODY_BYTES, MAX_ROWS
from evergreen.inbound import openapi
from evergreen.model.schema import MODEL_NAME
from evergreen.usecases.collect_feedback import MAX_LABELS

SCHEMAS = openapi.document()["components"]["schemas"]
PATHS = openapi.document()["paths"]


def test_as_many_rows_and_labels_as_the_code_takes():
    for name in ("instances", "inference_ids", "groups"):
        assert SCHEMAS["Rows"]["properties"][name]["maxItems"] == MAX_ROWS
    assert SCHEMAS["Answers"]["properties"]["predictions"]["maxItems"] == MAX_ROWS
    assert SCHEMAS["Labels"]["properties"]["labels"]["maxItems"] == MAX_LABELS
    rows, labels = (PATHS[f"/models/{{model}}/{end}"]["post"]["responses"]["413"] for end in ("predict", "feedback"))
    assert rows["description"].startswith(f"More than {MAX_ROWS:,} rows, {MAX_BODY_BYTES:,} bytes")
    assert labels["description"].startswith(f"More than {MAX_LABELS:,} labels.")


def test_a_model_is_named_as_specs_name_it():
    named = [p for item in PATHS.values() for p in item.get("parameters", ()) if p["name"] == "model"]
    assert len(named) == 3
    assert {parameter["schema"]["pattern"] for parameter in named} == {MODEL_NAME}


def test_ids_as_long_as_the_code_takes():
    found = [
        SCHEMAS["Rows"]["properties"]["inference_ids"]["items"],
        SCHEMAS["Answers"]["properties"]["predictions"]["items"]["properties"]["inference_id"],
        SCHEMAS["Labels"]["properties"]["labels"]["items"]["properties"]["inference_id"],
    ]
    assert {(schema["minLength"], schema["maxLength"]) for schema in found} == {(1, LONGEST_ID)}
