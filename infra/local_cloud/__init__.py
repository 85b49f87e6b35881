"""A local cloud: a template deployed on this machine, on a virtual clock, with nothing contacted outside it.

It is moto, in this process, completed where a template needs more than moto does:

==========  =========================================================================================================
cloud       the facade: deploy a template, advance the clock, send requests, look at what happened; the one module that
            knows every service
server      the same cloud on localhost, in real time, for any client
services    a folder each: what it does, ``PATCHES`` (what it replaces in moto), ``KINDS`` (the resource types it makes)
speed       short cuts through moto that change no behaviour
kernel      the clock and the agenda (whatever is asynchronous is an entry with its time), the courier (retries and
            dead-letter queues for any target), patches, resource kinds, ids that are the same in every run
==========  =========================================================================================================

Imports go downward only, and the services stand on floors: lambda_, firehose, s3, sns, iam, cloudformation and mlflow;
on them cloudwatch and dynamodb; on these sqs, eventbridge, apigateway and sagemaker. Where a lower service has to reach
a higher one it is handed a function: ``courier.accept``, ``metrics.on_data``, ``queues.on_message``, ``emit``.

What it does not do: IAM is not enforced but for functions' resource policies; nothing throttles, and in this process no
function times out; DynamoDB's TTL does not expire; flexible time windows are ignored; there is one account, and one
region of your choice.
"""
