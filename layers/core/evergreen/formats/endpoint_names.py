"""The names of what a SageMaker endpoint is made of: each says what it is for, and is read back by what it says."""

from __future__ import annotations

import re
from dataclasses import dataclass

from evergreen.domain.aliases import IMPORTED

_CONFIG = re.compile(r"-p(\d+)-s(\d+)-e(\d+)$")
_MODEL = re.compile(r"-v(\d+)-[0-9a-f]{8}$")
_NOBODY = 0


def model_name(head: str, version: int, artifact: str, sha256: str) -> str:
    """The SageMaker model of a version: the same bytes have the same name, others another.

    Examples
    --------
    >>> model_name("evergreen-churn", 3, "models/churn/j/output/model.tar.gz", "5f" * 32)
    'evergreen-churn-v3-5f5f5f5f'
    >>> model_name("evergreen-churn", 1, "sagemaker-model:churn-2024", "")
    'churn-2024'
    """
    return artifact.removeprefix(IMPORTED) if artifact.startswith(IMPORTED) else f"{head}-v{version}-{sha256[:8]}"


def version_of(name: str, head: str) -> int | None:
    """The version that a SageMaker model is, or None where it is none of ours.

    Examples
    --------
    >>> version_of("evergreen-churn-v3-5f5f5f5f", "evergreen-churn"), version_of("churn-2024", "evergreen-churn")
    (3, None)
    """
    found = _MODEL.fullmatch(name.removeprefix(head)) if name.startswith(head) else None
    return None if found is None else int(found[1])


def config_name(head: str, production: int, shadow: int | None, epoch: int) -> str:
    """The endpoint configuration with which a version answers, and perhaps another in shadow, since an epoch.

    Examples
    --------
    >>> config_name("evergreen-churn", 3, None, 41), config_name("evergreen-churn", 3, 4, 52)
    ('evergreen-churn-p3-s0-e41', 'evergreen-churn-p3-s4-e52')
    """
    return f"{head}-p{production}-s{_NOBODY if shadow is None else shadow}-e{epoch}"


@dataclass(frozen=True, slots=True)
class ConfigVersions:
    """Who answers, and who answers unseen, with an endpoint configuration of ours."""

    production: int
    shadow: int | None
    epoch: int

    @classmethod
    def read(cls, config: str) -> ConfigVersions | None:
        """Read the name of a configuration; None for one of somebody else's.

        Examples
        --------
        >>> ConfigVersions.read("evergreen-churn-p3-s4-e52")
        ConfigVersions(production=3, shadow=4, epoch=52)
        >>> ConfigVersions.read("churn-2024-config")
        """
        found = _CONFIG.search(config)
        if found is None:
            return None
        production, shadow, epoch = map(int, found.groups())
        return cls(production, shadow or None, epoch)
