"""Executing CloudFormation change sets as `sam deploy` needs them: whole stacks, outputs, failures that roll back.

moto applies a change set to the resources only: the stack keeps no outputs, conditions are not loaded on a first
deploy, and an error leaves the stack half made under the name of a finished one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from moto.cloudformation.exceptions import ValidationError
from moto.cloudformation.models import ChangeSet, CloudFormationBackend, Stack


def patched_execute_change_set(original: Callable[..., Any]) -> Callable[..., Any]:
    """``CloudFormationBackend.execute_change_set``: AWS answers at once, and the stack's events tell how it went."""

    @functools.wraps(original)
    def execute_change_set(self: CloudFormationBackend, change_set_name: str, stack_name: str | None = None) -> None:
        change_set = find_change_set(self, change_set_name, stack_name)
        if change_set.execution_status != "AVAILABLE":
            raise ValidationError(
                message=f"ChangeSet [{change_set.change_set_id}] cannot be executed in its current status of "
                f"[{change_set.status}]"
            )
        stack = self.stacks[change_set.stack_id]
        if change_set.change_set_type == "CREATE":
            create(self, stack, change_set)
        else:
            update(self, stack, change_set)
        change_set.execution_status = "EXECUTE_COMPLETE"

    return execute_change_set


def find_change_set(backend: CloudFormationBackend, name: str, stack_name: str | None) -> ChangeSet:
    """Return a change set by its id, or by its name and its stack's name or id.

    Parameters
    ----------
    backend
        Where the change sets are kept.
    name
        A name or an ARN.
    stack_name
        A name or an id; None when ``name`` is an ARN.

    Raises
    ------
    ValidationError
        When there is none.
    """
    if name in backend.change_sets:
        return backend.change_sets[name]
    for change_set in reversed(backend.change_sets.values()):
        if change_set.change_set_name == name and stack_name in (None, change_set.stack_name, change_set.stack_id):
            return change_set
    raise ValidationError(message=f"ChangeSet [{name}] does not exist")


def create(backend: CloudFormationBackend, stack: Stack, change_set: ChangeSet) -> None:
    """Make a stack that was only reviewed so far; a resource that fails takes the others with it."""
    stack.template = change_set.template
    stack.parameters = change_set.parameters
    stack.tags = change_set.tags or {}
    stack.role_arn = change_set.role_arn
    stack.cross_stack_resources = backend.exports
    stack._add_stack_event("CREATE_IN_PROGRESS", resource_status_reason="User Initiated")
    try:
        stack._parse_template()
        stack.resource_map = stack._create_resource_map()
        stack.output_map = stack._create_output_map()
        stack.create_resources()
        backend._validate_export_uniqueness(stack)
        list(stack.outputs or ())
    except Exception as error:  # whatever a resource's creation raises is the stack's failure, as on AWS
        stack._add_stack_event("CREATE_FAILED", resource_status_reason=_reason(error))
        stack._add_stack_event("ROLLBACK_IN_PROGRESS", resource_status_reason=_reason(error))
        stack.resource_map.delete()
        stack.status = "ROLLBACK_COMPLETE"
        stack._add_stack_event("ROLLBACK_COMPLETE")
        return
    for export in stack.exports:
        backend.exports[export.name] = export


def update(backend: CloudFormationBackend, stack: Stack, change_set: ChangeSet) -> None:
    """Bring a stack to another template or other parameters; a resource that fails brings the old ones back."""
    before_template, before_parameters = stack.template, dict(stack.parameters)
    stack._add_stack_event("UPDATE_IN_PROGRESS", resource_status_reason="User Initiated")
    try:
        _apply(stack, change_set.template, change_set.parameters)
    except Exception as error:  # whatever a resource's update raises is the stack's failure, as on AWS
        stack._add_stack_event("UPDATE_FAILED", resource_status_reason=_reason(error))
        stack._add_stack_event("UPDATE_ROLLBACK_IN_PROGRESS", resource_status_reason=_reason(error))
        _apply(stack, before_template, before_parameters)
        stack.status = "UPDATE_ROLLBACK_COMPLETE"
        stack._add_stack_event("UPDATE_ROLLBACK_COMPLETE")
        return
    stack.tags = change_set.tags or stack.tags
    stack.status = "UPDATE_COMPLETE"
    stack._add_stack_event("UPDATE_COMPLETE")


def _apply(stack: Stack, template: Any, parameters: dict[str, str]) -> None:
    stack.template = template
    stack._parse_template()
    stack.resource_map.update(stack.template_dict, parameters)
    stack.parameters = parameters
    stack.output_map = stack._create_output_map()
    list(stack.outputs or ())


def _reason(error: Exception) -> str:
    message = getattr(error, "message", None) or str(error) or type(error).__name__
    return str(message)
