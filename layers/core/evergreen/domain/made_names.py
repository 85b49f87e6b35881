"""How the names of what a stack makes in SageMaker begin: no two models of an account's stacks begin alike."""

from __future__ import annotations

import hashlib

STACK_TAG = "evergreen:stack"
"""The tag by which policies tell what a stack may change."""
LONGEST_HEAD = 36
"""Of SageMaker's 63 characters: what follows says which version, attempt or epoch it is."""
_DIGEST = 8


def head_of(stack: str, model: str) -> str:
    """How the names of a model's training jobs, SageMaker models and endpoint configurations begin.

    SageMaker's names have hyphens for underscores. Where that leaves open what is the stack and what the model, or
    where the name is too long, a hash of both tells.

    Examples
    --------
    >>> head_of("evergreen", "churn_eu")
    'evergreen-churn-eu'
    >>> head_of("evergreen-churn", "eu"), head_of("evergreen", "the_longest_name_that_a_model_may_have_")
    ('evergreen-churn-eu-e51c3411', 'evergreen-the-longest-name-a8884b13')
    """
    head = f"{stack}-{model}".replace("_", "-")
    is_plain = "-" not in stack
    if is_plain and len(head) <= LONGEST_HEAD:
        return head
    digest = hashlib.sha256((head if is_plain else f"{stack}/{model}").encode()).hexdigest()[:_DIGEST]
    return f"{head[: LONGEST_HEAD - 1 - _DIGEST].rstrip('-')}-{digest}"
