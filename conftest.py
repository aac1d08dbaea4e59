"""The harness and the benchmarks are plugins of pytest; `pytester` is for their own tests."""

pytest_plugins = [
    "spec.harness.plugin",
    "spec.cifar10",
    "spec.benchmarks.plugin",
    "spec.harness.tests.page.browser",
    "pytester",
]
