"""What a decision may be refused with: the errors of the model's life, and none of a file that can't be read."""

from evergreen import errors

REFUSALS = tuple(
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type)
    and issubclass(kind, errors.EvergreenError)
    and kind not in (errors.EvergreenError, errors.UsageError)
)
