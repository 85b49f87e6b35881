"""A plugin of pytest: what each role of the template used, was refused and left, in each cloud that a test closed."""

import itertools
import json
import os
from pathlib import Path

from uses import OF_THE_STACK, Use, of_the_code, to_json

from local_cloud.cloud import LocalCloud

FOLDER = "PERMISSIONS_FOLDER"
"""Names the variable that says where the files go: one for each cloud."""


def use_of(cloud: LocalCloud) -> dict[str, Use]:
    """What each role of a cloud did, by the role's name in the template."""
    names = {physical: logical for logical, physical in cloud.resources.items()}
    found = {logical: Use() for logical in names.values() if logical.endswith("Role")}
    authority = cloud.authority

    def of(arn: str) -> Use | None:
        return found.get(names.get(arn.rsplit("/", 1)[-1], ""))

    for (arn, action), times in authority.used.items():
        if (use := of(arn)) is not None:
            use.used[action] += times
    for arn, patterns in authority.never_used().items():
        if (use := of(arn)) is not None:
            use.idle |= of_the_code(patterns)
    for refusal in authority.refusals:
        if (use := of(refusal.caller.role_arn)) is not None:
            use.refused |= {f"{refusal.action} on {refusal.resource}"}
    return found


def pytest_configure() -> None:
    """Have each cloud of the template leave a file when it is closed."""
    folder, close, numbers = Path(os.environ[FOLDER]), LocalCloud.close, itertools.count()

    def closing(cloud: LocalCloud) -> None:
        if LocalCloud._open is cloud and cloud.resources.keys() >= OF_THE_STACK:
            (folder / f"{os.getpid()}-{next(numbers)}.json").write_text(json.dumps(to_json(use_of(cloud))))
        close(cloud)

    LocalCloud.close = closing
