"""Roles and policies, and what they allow: each call is decided as IAM decides it."""
