"""SageMaker's endpoints without anything behind them: each change waits until a story says how it ended.

moto's own are in service at once, can't be updated and lose their shadow variants. Here the control plane alone is
told, as the local cloud's endpoints tell it; who wants answers takes those.
"""

from contextlib import contextmanager
from unittest.mock import patch

from moto.core.responses import ActionResult, EmptyResult
from moto.sagemaker.exceptions import AWSValidationException
from moto.sagemaker.responses import SageMakerResponse

ARN = "arn:aws:sagemaker:us-east-1:123456789012:{}/{}"


class StillEndpoints:
    """The configurations and endpoints of one cloud."""

    def __init__(self):
        self.configs, self.endpoints = {}, {}

    # --- what a story says --------------------------------------------------------------------------------------------

    def arrives(self, name):
        """The change ends well."""
        endpoint = self.endpoints[name]
        endpoint |= {"EndpointConfigName": endpoint.pop("pending"), "EndpointStatus": "InService"}

    def goes_back(self, name):
        """SageMaker undoes the change, or gives up on an endpoint that was to be made."""
        endpoint = self.endpoints[name]
        made = endpoint["EndpointStatus"] == "Creating"
        endpoint.pop("pending")
        endpoint["EndpointStatus"] = "Failed" if made else "InService"

    def is_pointed(self, name, config):
        """Somebody else updates the endpoint, and it is done."""
        self.endpoints[name]["EndpointConfigName"] = config

    # --- what SageMaker answers ---------------------------------------------------------------------------------------

    def create_endpoint_config(self, response):
        given = response._get_params()
        if given["EndpointConfigName"] in self.configs:
            raise AWSValidationException("Cannot create already existing endpoint configuration")
        self.configs[given["EndpointConfigName"]] = given
        return ActionResult({"EndpointConfigArn": ARN.format("endpoint-config", given["EndpointConfigName"])})

    def describe_endpoint_config(self, response):
        return ActionResult(self._of(self.configs, response, "EndpointConfigName"))

    def delete_endpoint_config(self, response):
        config = self._of(self.configs, response, "EndpointConfigName")
        del self.configs[config["EndpointConfigName"]]
        return EmptyResult()

    def create_endpoint(self, response):
        given = response._get_params()
        name, config = given["EndpointName"], given["EndpointConfigName"]
        if name in self.endpoints:
            raise AWSValidationException("Cannot create already existing endpoint")
        self.endpoints[name] = {"EndpointName": name, "EndpointConfigName": config, "EndpointStatus": "Creating"}
        self.endpoints[name] |= {"pending": config, "Tags": given["Tags"]}
        return ActionResult({"EndpointArn": ARN.format("endpoint", name)})

    def update_endpoint(self, response):
        given, endpoint = response._get_params(), self._of(self.endpoints, response, "EndpointName")
        if endpoint["EndpointStatus"] != "InService":
            raise AWSValidationException("Cannot update in-progress endpoint")
        endpoint |= {"EndpointStatus": "Updating", "pending": given["EndpointConfigName"]}
        endpoint["deployment"] = given["DeploymentConfig"]
        return ActionResult({"EndpointArn": ARN.format("endpoint", given["EndpointName"])})

    def describe_endpoint(self, response):
        endpoint = self._of(self.endpoints, response, "EndpointName")
        config = self.configs[endpoint["EndpointConfigName"]]
        variants = [{"VariantName": v["VariantName"], "DesiredInstanceCount": 1} for v in config["ProductionVariants"]]
        told = {**endpoint, "EndpointArn": ARN.format("endpoint", endpoint["EndpointName"])}
        if "pending" in endpoint:
            told["PendingDeploymentSummary"] = {"EndpointConfigName": endpoint["pending"], "ProductionVariants": []}
        return ActionResult(told | {"ProductionVariants": variants})

    def delete_endpoint(self, response):
        del self.endpoints[self._of(self.endpoints, response, "EndpointName")["EndpointName"]]
        return EmptyResult()

    def _of(self, kind, response, name):
        asked = response._get_param(name)
        if asked not in kind:
            raise AWSValidationException(f"Could not find {asked}")
        return kind[asked]


OPERATIONS = (
    "create_endpoint_config",
    "describe_endpoint_config",
    "delete_endpoint_config",
    "create_endpoint",
    "update_endpoint",
    "describe_endpoint",
    "delete_endpoint",
)


@contextmanager
def still_endpoints():
    """Put these endpoints in place of moto's; answers them."""
    made = StillEndpoints()

    def answered_by(operation):
        def method(response):  # a function, so that moto finds a method
            return operation(response)

        return method

    methods = {name: answered_by(getattr(made, name)) for name in OPERATIONS}
    with patch.multiple(SageMakerResponse, create=True, **methods):
        yield made
