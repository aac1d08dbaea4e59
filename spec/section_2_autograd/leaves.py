"""The leaves behind a result, for faults of backward()."""


def leaves_of(result):
    """Return the leaves that backward() of a result fills."""
    nodes, leaves = [result.grad_fn], []
    while nodes:
        node = nodes.pop()
        nodes += [following for following, _ in node.next_functions if following]
        if hasattr(node, "variable"):
            leaves.append(node.variable)
    return leaves
