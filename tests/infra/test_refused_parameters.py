"""What of template.yaml the local cloud refuses."""

from __future__ import annotations

import pytest
from local_stacks import START
from small_cloud import ROOT

from local_cloud.cloud import LocalCloud
from local_cloud.kernel.errors import UnsupportedResourceError


def test_tokens_that_the_local_cloud_can_not_check_fail_the_deploy() -> None:
    """An API that let everybody in where AWS would not is worse than none."""
    tokens = {"JwtIssuer": "https://issuer.example", "JwtAudience": "evergreen"}
    with LocalCloud(START) as cloud, pytest.raises(UnsupportedResourceError, match="Authorizer") as refused:
        cloud.deploy_stack(ROOT / "template.yaml", stack_name="evergreen", parameters=tokens)
    assert "local cloud" in str(refused.value)
