"""A local cloud: a template deployed on this machine, on a virtual clock, with nothing contacted outside it.

It is moto, in this process, completed where a template needs more than moto does:

=================  ==================================================================================================
cloud              the facade: deploy a template, advance the clock, send requests, look at what happened
engine             the clock and the agenda: whatever is asynchronous is an entry with its time
template, support  transform, check (what is not supported fails the deploy) and package templates
resources          the resource types, moto's own completed and those that moto lacks
lambdas, invokers  functions: calls, the asynchronous queue, destinations, queues; and what runs their code
events, delivery   EventBridge rules and S3's events; retries and dead-letter queues for any target
schedules          rate, cron and at, of rules and of EventBridge Scheduler
streams, pipes     DynamoDB transactions and streams, and pipes that read them
firehose           buffers, partitions, prefixes
metrics, alarms    EMF, statistics, metric math; alarms evaluated only when something can change (gauges: of queues)
lifecycle          objects that expire; identity: ids that are the same in every run
http_api           the routes of HTTP APIs
patches, speed     every symbol of moto that is replaced, in one table; short cuts that change no behaviour
training_*         training jobs, run for real (processes: how)
endpoints*         SageMaker endpoints that answer: fleets of containers, deployments, shadows, captures
server, ...        the same cloud as a server, in real time, for any client (runtime_api, change_sets, mlflow_server)
=================  ==================================================================================================

What it does not do: IAM is not enforced but for functions' resource policies; nothing throttles, and in this process no
function times out; DynamoDB's TTL does not expire; flexible time windows are ignored; there is one account and region.
"""
