"""Metrics with statistics and metric math; alarms, evaluated only when something can change; log groups as targets."""
