"""Bytes that others write or read: files and their keys, captures and ground truth, request bodies, outcomes."""
