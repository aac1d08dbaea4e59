"""Trees to compare, whose operations need no PyTorch and last as long as they are told."""

BEGIN = "import os, signal, sys, time\n"


def make_tree(folder, source):
    """Write a tree whose list of operations is what `source` says; return its folder."""
    package = folder / "spec" / "benchmarks"
    package.mkdir(parents=True)
    (folder / "spec" / "__init__.py").touch()
    (package / "__init__.py").touch()
    (package / "operations.py").write_text(BEGIN + source)
    return folder


def sleeping(**seconds):
    """Return the source of operations that sleep."""
    builders = "".join(
        f"def {name}(device):\n    return lambda: time.sleep({duration}) or 1.0\n"
        for name, duration in seconds.items()
    )
    return f"{builders}OPERATIONS = [{', '.join(seconds)}]\n"


def doing(statement):
    """Return the source of one operation, `odd`, which does this instead."""
    operation = f"    def operation():\n        {statement}\n        return 1.0\n"
    return f"def odd(device):\n{operation}    return operation\nOPERATIONS = [odd]\n"
