"""Stacks made, changed and deleted the way `sam` expects it: outputs, failures that roll back, deletion in order.

moto applies a change set to the resources only: the stack keeps no outputs, conditions are not loaded on a first
deploy, and an error leaves the stack half made under the name of a finished one. It deletes in no particular order.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from moto.cloudformation.exceptions import ValidationError
from moto.cloudformation.models import ChangeSet, CloudFormationBackend, Stack
from moto.cloudformation.parsing import ResourceMap

from local_cloud.kernel.patching import Patch


def patched_execute_change_set(stacks: object, original: Callable[..., Any]) -> Callable[..., Any]:
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


def patched_delete_stack(stacks: object, original: Callable[..., Any]) -> Callable[..., Any]:
    """``CloudFormationBackend.delete_stack``: what cannot be deleted leaves the stack in DELETE_FAILED."""

    @functools.wraps(original)
    def delete_stack(self: CloudFormationBackend, name_or_stack_id: str) -> None:
        for stack in [s for s in self.stacks.values() if name_or_stack_id in (s.stack_id, s.name)]:
            export_names = [export.name for export in stack.exports]
            stack._add_stack_event("DELETE_IN_PROGRESS", resource_status_reason="User Initiated")
            if failures := delete_resources(stack.resource_map):
                reasons = "; ".join(f"{name}: {_reason(error)}" for name, error in failures.items())
                stack.status = "DELETE_FAILED"
                stack._add_stack_event("DELETE_FAILED", resource_status_reason=reasons)
                continue
            stack.status = "DELETE_COMPLETE"
            stack._add_stack_event("DELETE_COMPLETE")
            self.deleted_stacks[stack.stack_id] = self.stacks.pop(stack.stack_id)
            for name in export_names:
                self.exports.pop(name, None)

    return delete_stack


def delete_resources(resources: ResourceMap) -> dict[str, Exception]:
    """Delete what a stack made, latest first, except what is to be retained.

    Parameters
    ----------
    resources
        The stack's resources; the deleted ones are forgotten.

    Returns
    -------
    dict[str, Exception]
        What could not be deleted, by logical id.
    """
    definitions = resources._resource_json_map
    made = [name for name in resources._parsed_resources if name in definitions]
    pending = [name for name in reversed(made) if definitions[name].get("DeletionPolicy") != "Retain"]
    while pending:
        failures: dict[str, Exception] = {}
        for name in pending:
            try:
                if (resource := resources._parsed_resources[name]) is not None:
                    resources._delete_resource(resource, definitions[name])
                del resources._parsed_resources[name]
            except Exception as error:  # one that is still needed by another goes in a later round
                failures[name] = error
        if len(failures) == len(pending):
            return failures
        pending = list(failures)
    return {}


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
        delete_resources(stack.resource_map)
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


PATCHES = (Patch("moto.cloudformation.models:CloudFormationBackend.execute_change_set", patched_execute_change_set),)
