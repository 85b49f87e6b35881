"""Where a function's metrics go: to its log, in CloudWatch's embedded metric format, once a call."""

from __future__ import annotations

from aws_lambda_powertools.metrics import EphemeralMetrics


class Measures(EphemeralMetrics):
    """Metrics of the stack's namespace (``POWERTOOLS_METRICS_NAMESPACE``) under one set of dimensions.

    A call that counted nothing writes nothing and warns of nothing; its dimensions are forgotten all the same, or the
    next call's metrics would stand under them.

    Examples
    --------
    >>> measures = Measures()
    >>> measures.add_dimension("Model", "churn")
    >>> measures.flush_metrics()
    >>> measures.dimension_set
    {}
    """

    def flush_metrics(self, raise_on_empty_metrics: bool = False) -> None:
        """Write what was counted, if anything was."""
        if self.metric_set:
            super().flush_metrics(raise_on_empty_metrics)
        else:
            self.clear_metrics()
