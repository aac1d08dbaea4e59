"""Benchmarks, one question each; timed by pytest -m benchmark."""
