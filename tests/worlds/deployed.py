"""A cloud of moto's that CloudFormation knows as a stack, and the `evergreen` command at work on it."""

import json

import boto3
from typer.testing import CliRunner

from evergreen_ops.cli import app


class Deployed:
    """Beside a SmallCloud: its stack, and what the command says."""

    def deployed(self, name="evergreen", without=()):
        """Make the stack known to CloudFormation."""
        told = {"AWS_REGION": "us-east-1"} | self.environment()
        outputs = {
            "".join(part.title() for part in key.split("_")): {"Value": value}
            for key, value in told.items()
            if key not in without
        }
        template = {"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}, "Outputs": outputs}
        boto3.client("cloudformation").create_stack(StackName=name, TemplateBody=json.dumps(template))
        return self

    def evergreen(self, *arguments, code=0, answer=None):
        """What the command prints to stdout."""
        result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=answer)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, result.output
        self.said = result.stderr
        return result.stdout

    def asked(self, *arguments, code=0):
        """What the command prints as JSON."""
        return json.loads(self.evergreen(*arguments, "--json", code=code))
