"""The notebook on autograd, what it leaves to a link: backward() in several threads."""

import threading
from concurrent.futures import ThreadPoolExecutor

import torch

from spec.harness import ANSWERED, fault, statement
from spec.section_2_autograd.faults import leaves_of


def in_threads(results, **options):
    """Run backward() of each result in a thread of its own, all at the same time; return their errors."""
    ready = threading.Barrier(len(results), timeout=60)

    def backward(result):
        ready.wait()
        result.backward(**options)

    with ThreadPoolExecutor(len(results)) as pool:
        running = [pool.submit(backward, result) for result in results]
    return [each.exception() for each in running]


def share_of(h, *factors):
    """Return a result for each factor; their graphs share that of `h`."""
    return [(factor * h).sum() for factor in factors]


# Faults

ONE_AT_A_TIME = threading.Lock()


def overwriting(real):
    """Return a backward() that replaces the gradients of others."""

    def backward(result, **options):
        with ONE_AT_A_TIME:
            for leaf in leaves_of(result):
                leaf.grad = None
            real(result, **options)

    return backward


def without_options(real):
    """Return a backward() that frees the graph whatever it is told."""

    def backward(result, **options):
        with ONE_AT_A_TIME:
            real(result)

    return backward


def keeping_the_graph(real):
    """Return a backward() that retains the graph whatever it is told."""
    return lambda result, **options: real(result, retain_graph=True)


def elsewhere(real):
    """Return a backward() that runs in a thread of its own."""
    return lambda result, **options: ThreadPoolExecutor(1).submit(real, result, **options).result()


@statement(
    "autograd.threads",
    notes="notebook autograd",
    verdict=ANSWERED,
    says="how autograd works in several threads is left to a link",
)
@fault("backward overwrites the gradients of others", torch.Tensor, "backward", overwriting)
@fault("backward ignores retain_graph", torch.Tensor, "backward", without_options)
@fault("backward keeps every graph", torch.Tensor, "backward", keeping_the_graph)
@fault("backward runs in a thread of its own", torch.Tensor, "backward", elsewhere)
class TestThreads:
    """Several threads can call backward() at the same time. Their gradients add up in the .grad of a leaf
    tensor that they share. Threads whose graphs share a part need retain_graph=True. On the CPU, backward()
    runs in the thread that called it.
    """

    def test_gradients_of_all_threads_add_up_in_a_shared_leaf(self, device):
        x = torch.tensor([1.0, -1.0], device=device, requires_grad=True)

        errors = in_threads(share_of(x, 1, 10, 100, 1000))

        assert errors == [None] * 4
        assert x.grad.tolist() == [1111, 1111]

    def test_shared_part_of_graphs_serves_all_threads_if_it_is_retained(self, device):
        x = torch.zeros(2, device=device, requires_grad=True)

        errors = in_threads(share_of(x.exp(), 1, 10, 100), retain_graph=True)

        assert errors == [None] * 3
        assert x.grad.tolist() == [111, 111]

    def test_shared_part_of_graphs_is_freed_by_the_first_thread_otherwise(self, device):
        first, second = share_of(torch.zeros(2, device=device, requires_grad=True).exp(), 1, 10)

        errors = in_threads([first]) + in_threads(
            [second]
        )  # one after the other: at once, both may get through

        assert errors[0] is None
        assert isinstance(errors[1], RuntimeError)
        assert "backward through the graph a second time" in str(errors[1])

    def test_backward_on_the_cpu_runs_in_the_thread_that_called_it(self):
        x, seen = torch.ones(2, requires_grad=True), []
        x.register_hook(lambda gradient: seen.append(threading.current_thread()))

        thread = threading.Thread(target=(2 * x).sum().backward)
        thread.start()
        thread.join()

        assert seen == [thread]
