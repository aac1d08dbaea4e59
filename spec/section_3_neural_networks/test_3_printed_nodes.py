"""3 "Loss function": the addresses of the nodes that the notes print."""

from itertools import pairwise

import torch

from spec.harness import OUTDATED, fault, since, statement


def make_chain():
    """Return the result of a hundred operations, each on the result of the last."""
    result = torch.ones(1, requires_grad=True)
    for _ in range(100):
        result = result.neg()
    return result


def step_back(node):
    """Return the node that a node leads back to, None after the last."""
    return node.next_functions[0][0] if node.next_functions else None


def address(node):
    """Return the address that is printed of a node."""
    return repr(node).split(" object at ")[1]


# Faults


class Throwaway:
    """Stands for a node: made anew each time that it is asked for, where the last one was freed."""

    def __init__(self, node):
        self.node = node

    def __repr__(self):
        return "<NegBackward0 object at 0x0000015F84F7E388>"

    @property
    def next_functions(self):
        """Return what the node leads back to."""
        return tuple((Throwaway(node), place) for node, place in self.node.next_functions)


@statement(
    "nn.printed-nodes-share-an-address",
    notes="3 loss function; notebook nn",
    verdict=OUTDATED,
    says="the first and the third of the three printed nodes show the same address",
)
@fault(
    "a node is a new object each time",
    torch.Tensor,
    "grad_fn",
    lambda real: property(lambda result: Throwaway(real.__get__(result))),
)
class TestPrintedNodesShareAnAddress:
    """Since PyTorch 2.13, the Python object of a graph node lives as long as the node, so different nodes
    show different addresses. Before, the object was freed after printing, and the next node could show the
    same address.
    """

    @since("2.13")
    def test_nodes_that_are_printed_one_after_the_other_show_different_addresses(self):
        result = make_chain()

        addresses, node = [], result.grad_fn
        while node:
            addresses.append(address(node))
            node = step_back(node)

        assert len(set(addresses)) == len(addresses) == 101

    def test_node_that_is_held_is_the_same_object_each_time(self):
        result = make_chain()

        held = [result.grad_fn]
        while following := step_back(held[-1]):
            held.append(following)

        assert len({address(node) for node in held}) == len(held) == 101
        assert result.grad_fn is held[0]
        assert all(step_back(node) is following for node, following in pairwise(held))
