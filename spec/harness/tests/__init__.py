"""The harness's own rules, each broken on purpose."""
