"""Delivery streams to S3."""
