"""The harness is a pytest plugin; `pytester` is for its own tests."""

pytest_plugins = ["spec.harness.plugin", "pytester"]
