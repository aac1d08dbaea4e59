"""Trees to compare, whose operations need no PyTorch and last as long as they are told."""

OPERATION = """
def {name}(device):
    def operation():
        {statement}
        return 1.0
    return operation
"""


def make_tree(folder, source):
    """Write a tree whose list of operations is what `source` says; return its folder."""
    package = folder / "spec" / "benchmarks"
    package.mkdir(parents=True)
    (folder / "spec" / "__init__.py").touch()
    (package / "__init__.py").touch()
    (package / "operations.py").write_text(f"import os, signal, sys, time\n{source}")
    return folder


def doing(**statements):
    """Return the source of operations, each of which does this."""
    operations = [OPERATION.format(name=name, statement=does) for name, does in statements.items()]
    return f"{''.join(operations)}\nOPERATIONS = [{', '.join(statements)}]\n"


def sleeping(**seconds):
    """Return the source of operations that sleep."""
    return doing(**{name: f"time.sleep({duration})" for name, duration in seconds.items()})
