"""Benchmarks, one question each; run by name: pytest spec/benchmarks."""
