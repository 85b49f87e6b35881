"""The HTTP API as an OpenAPI document: made of the limits that the code keeps, served, and kept in docs."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from evergreen.formats.requests import MAX_BODY_BYTES, MAX_ROWS

PREDICT_ROUTE = "POST /models/{model}/predict"
FEEDBACK_ROUTE = "POST /models/{model}/feedback"
MODEL_ROUTE = "GET /models/{model}"
DOCUMENT_ROUTE = "GET /openapi.json"

_ID = {"type": "string", "minLength": 1, "maxLength": 128}
_MODEL = {
    "name": "model",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "pattern": "^[a-z][a-z0-9_]{0,39}$"},
    "example": "churn",
}


def text() -> str:
    """The document as it is kept in docs/openapi.json.

    Examples
    --------
    >>> json.loads(text())["info"]["title"]
    'Evergreen'
    """
    return json.dumps(document(), indent=2) + "\n"


@cache
def document() -> dict[str, Any]:
    """The OpenAPI 3.1 document of the HTTP API.

    Examples
    --------
    >>> sorted(document()["paths"])
    ['/models/{model}', '/models/{model}/feedback', '/models/{model}/predict', '/openapi.json']
    """
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Evergreen",
            "version": "1",
            "description": "Answers of models in production, and labels for what was answered. Requests are signed "
            "(AWS Signature Version 4, service execute-api) or, where the stack is deployed so, bring a JWT.",
        },
        "security": [{"iam": []}, {"jwt": []}],
        "paths": {
            "/models/{model}/predict": {"parameters": [_MODEL], "post": _predict()},
            "/models/{model}/feedback": {"parameters": [_MODEL], "post": _feedback()},
            "/models/{model}": {"parameters": [_MODEL], "get": _describe()},
            "/openapi.json": {"get": _this()},
        },
        "components": {"schemas": _schemas(), "securitySchemes": _security()},
    }


def _most_labels() -> int:
    from evergreen.usecases.collect_feedback import MAX_LABELS  # with the spec's pydantic: not for each answer's start

    return MAX_LABELS


def _predict() -> dict[str, Any]:
    return {
        "operationId": "predict",
        "summary": "Answer rows with the version in production",
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": _schema("Rows"),
                    "example": {"instances": [{"age": 41, "plan": "basic"}], "inference_ids": ["order-17"]},
                },
                "text/csv": {
                    "schema": {
                        "type": "string",
                        "description": "One row a line, no header, the features in the model's order, an empty field "
                        "for a missing value.",
                    },
                    "example": "41,basic\n",
                },
            },
        },
        "responses": {
            "200": _json("Each row's prediction, in order.", "Answers"),
            **_problems(
                {
                    "400": "The body is no JSON or CSV, or is none that the API knows.",
                    "404": "No version of the model is in production.",
                    "413": f"More than {MAX_ROWS:,} rows, {MAX_BODY_BYTES:,} bytes, or more than an answer can hold.",
                    "415": "Neither application/json nor text/csv.",
                    "422": "A row is not what the model takes: each problem names the row and the feature.",
                    "500": "The version failed on these rows.",
                    "503": "The version can't be loaded.",
                }
            ),
        },
    }


def _feedback() -> dict[str, Any]:
    return {
        "operationId": "feedback",
        "summary": "Say what was true of answered rows",
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": _schema("Labels"),
                    "example": {"labels": [{"inference_id": "order-17", "label": "1"}]},
                }
            },
        },
        "responses": {
            "202": _json("All labels are taken, or none.", "Taken"),
            **_problems(
                {
                    "400": "The body is no JSON, or none that the API knows.",
                    "404": "The model is not known.",
                    "413": f"More than {_most_labels():,} labels.",
                    "422": "A label is not one that the model can have: each problem names the entry.",
                    "500": "The labels could not be handed on: send them again.",
                }
            ),
        },
    }


def _describe() -> dict[str, Any]:
    return {
        "operationId": "describe",
        "summary": "Say which version answers, and what it takes",
        "responses": {
            "200": _json("The version in production.", "Model"),
            **_problems(
                {"404": "No version of the model is in production.", "500": "", "503": "The version can't be loaded."}
            ),
        },
    }


def _this() -> dict[str, Any]:
    return {
        "operationId": "openapi",
        "summary": "This document",
        "responses": {
            "200": {"description": "OpenAPI 3.1.", "content": {"application/json": {"schema": {"type": "object"}}}},
            **_problems({}),
        },
    }


def _schemas() -> dict[str, Any]:
    rows = {"type": "array", "minItems": 1, "maxItems": MAX_ROWS}
    value = {"type": ["number", "string", "null"], "description": "null: the value is not known"}
    prediction = {
        "inference_id": {**_ID, "description": "What a label names: the caller's, or a UUIDv7."},
        "prediction": {"type": ["string", "number"], "description": "A class, or the value of a regression."},
        "probabilities": {
            "type": ["object", "null"],
            "additionalProperties": {"type": "number"},
            "description": "By class; null for a regression.",
        },
    }
    return {
        "Rows": _object(
            {
                "instances": {
                    **rows,
                    "items": {"type": "object", "additionalProperties": value},
                    "description": "Rows by feature; every feature of the model is named, and no other.",
                },
                "inference_ids": {**rows, "items": _ID, "uniqueItems": True, "description": "One a row; else we do."},
                "groups": {
                    **rows,
                    "items": {"type": ["string", "null"]},
                    "description": "One a row: rows of one group (a customer) count as one when versions are compared.",
                },
            },
            optional=("inference_ids", "groups"),
        ),
        "Answers": _object(
            {
                "model": {"type": "string"},
                "version": {"type": "integer", "minimum": 1, "description": "The version that answered all rows."},
                "request_id": {"type": "string", "format": "uuid", "description": "A UUIDv7."},
                "predictions": {**rows, "items": _object(prediction)},
            }
        ),
        "Labels": {
            "type": "object",
            "required": ["labels"],
            "properties": {
                "labels": {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": _most_labels(),
                    "items": {
                        "type": "object",
                        "required": ["inference_id", "label"],
                        "properties": {
                            "inference_id": _ID,
                            "label": {"type": ["string", "number"]},
                            "features": {
                                "type": ["object", "null"],
                                "additionalProperties": value,
                                "description": "The row, where labels are learned at once.",
                            },
                        },
                    },
                }
            },
        },
        "Taken": _object({"model": {"type": "string"}, "labels": {"type": "integer", "minimum": 1}}),
        "Model": _object(
            {
                "model": {"type": "string"},
                "version": {"type": "integer", "minimum": 1},
                "canary": {
                    **_object(
                        {
                            "share": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
                            "rest": {"type": "integer", "minimum": 1},
                        }
                    ),
                    "type": ["object", "null"],
                    "description": "While the version is watched: the share it answers, and the version of the rest.",
                },
                "task": {"enum": ["binary", "multiclass", "regression"]},
                "features": {
                    "type": "array",
                    "minItems": 1,
                    "items": _object({"name": {"type": "string"}, "type": {"enum": ["number", "categorical"]}}),
                    "description": "In the order of CSV fields.",
                },
                "classes": {"type": ["array", "null"], "items": {"type": "string"}},
            }
        ),
        "Problem": _object(
            {
                "type": {"type": "string"},
                "title": {"type": "string"},
                "status": {"type": "integer"},
                "detail": {"type": "string"},
                "problems": {"type": "array", "items": {"type": "string"}, "description": "One a field."},
            }
        ),
        "Message": {
            "type": "object",
            "properties": {"message": {"type": ["string", "null"]}},
            "description": "What API Gateway itself answers.",
        },
    }


def _security() -> dict[str, Any]:
    signed = "AWS Signature Version 4, service execute-api, permission execute-api:Invoke."
    return {
        "iam": {"type": "apiKey", "in": "header", "name": "Authorization", "description": signed},
        "jwt": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    }


def _object(properties: dict[str, Any], *, optional: tuple[str, ...] = ()) -> dict[str, Any]:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _schema(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _json(description: str, schema: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": _schema(schema)}}}


def _problems(descriptions: dict[str, str]) -> dict[str, Any]:
    """Refusals and failures: ours as problem documents (RFC 9457), API Gateway's as messages."""
    gateway = {
        "401": "No JWT, or one that is not valid.",
        "403": "Not signed, or not permitted.",
        "404": "There is no such path or method.",
        "413": "More than 10 MB.",
        "429": "Too many requests.",
        "500": "The function failed.",
        "503": "The function did not answer within 30 seconds.",
    }
    refused = {}
    for status in sorted({*gateway, *descriptions}):
        told = [text for text in (descriptions.get(status), gateway.get(status)) if text]
        content: dict[str, Any] = {}
        if status in descriptions:
            content["application/problem+json"] = {"schema": _schema("Problem")}
        if status in gateway:
            content["application/json"] = {"schema": _schema("Message")}
        refused[status] = {"description": " Or: ".join(told), "content": content}
    return refused


if __name__ == "__main__":
    print(text(), end="")  # noqa: T201
