"""Roles and policies: kept, and not enforced."""
