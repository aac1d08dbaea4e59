"""Notes 5, DistributedDataParallel (DDP): what its users ask most, of one training step in two ranks."""

from datetime import timedelta

import torch
import torch.distributed as dist
from torch import nn

from spec.distributed_faults import FIRST_ONLY, SUMMED, local
from spec.distributed_shares import (
    ROUNDING,
    attempt,
    gradient,
    gradient_alone,
    gradients_alone,
    loss_of,
    make_batch,
    make_net,
    mean,
)
from spec.faults import then, with_options
from spec.harness import ANSWERED, broken_by, claim

DDP = nn.parallel.DistributedDataParallel
UNKNOWN = "how DistributedDataParallel is used is not known yet"
PATIENCE = 0.3  # seconds; a rank that never comes is waited for no longer


# Faults


def averaged_by_the_weights(ddp):
    """Fault: a weight averages its gradient whoever calls the net."""

    def average(grad):
        total = grad.clone()
        dist.all_reduce(total)
        return total / dist.get_world_size()

    for parameter in ddp.parameters():
        parameter.register_hook(average)


def forgetting(real):
    """Fault: a forward pass forgets the gradients so far."""
    return lambda ddp, inputs: ddp.zero_grad() or real(ddp, inputs)


# Who is called


def through_module():
    """In each rank: backward through `.module` of a DDP that has averaged once; return the gradient."""
    net = make_net()
    ddp = DDP(net)
    loss_of(ddp).backward()
    net.zero_grad()
    loss_of(ddp.module).backward()
    return gradient(net)


def through_a_temporary():
    """In each rank: backward through a DDP that has a name, and through one that has none any more."""
    seen = []
    for named in (True, False):
        net = make_net()
        ddp = DDP(net)
        loss = loss_of(ddp)
        if not named:
            del ddp
        loss.backward()
        seen.append(gradient(net))
    return seen


class TestCalls:
    """Through what the net is called."""

    @claim("parallel.ddp-usage-module", notes="5", verdict=ANSWERED, says=UNKNOWN)
    @broken_by(DDP, "__init__", then(averaged_by_the_weights))
    def test_gradients_through_module_stay_own(self, ranks):
        """Only a call of the DDP itself is averaged: after one of ddp.module each rank keeps its gradient."""
        seen = ranks(2, through_module)

        torch.testing.assert_close(seen, gradients_alone(), **ROUNDING)

    @claim("parallel.ddp-usage-temporary", notes="5", verdict=ANSWERED, says=UNKNOWN)
    @broken_by(DDP, "__init__", then(averaged_by_the_weights))
    @broken_by(DDP, "__init__", then(lambda ddp, kept=[]: kept.append(ddp)))
    @broken_by(DDP, "forward", local)
    def test_ddp_has_to_live_until_backward(self, ranks):
        """A DDP that nothing refers to any more when backward runs averages nothing, and says nothing."""
        named, temporary = zip(*ranks(2, through_a_temporary), strict=True)

        alone = gradients_alone()
        torch.testing.assert_close(list(named), [mean(alone)] * 2, **ROUNDING)
        torch.testing.assert_close(list(temporary), alone, **ROUNDING)


# Gradients


def clip(max_norm):
    """In each rank: backward, and clip; return the norm before, and the gradient."""
    net = make_net()
    ddp = DDP(net)
    loss_of(ddp).backward()
    norm = nn.utils.clip_grad_norm_(ddp.parameters(), max_norm)
    return norm, gradient(net)


def accumulate():
    """In each rank: two backward passes that both talk to the other rank; return the gradient."""
    net = make_net()
    ddp = DDP(net)
    for number in range(2):
        loss_of(ddp, number).backward()
    return gradient(net)


def places():
    """In each rank: the gradient, and in how many storages it lies, with bucket views and without."""
    seen = []
    for views in (True, False):
        net = make_net()
        ddp = DDP(net, gradient_as_bucket_view=views)
        loss_of(ddp).backward()
        seen += [gradient(net), len({p.grad.untyped_storage().data_ptr() for p in net.parameters()})]
    return seen


class TestGradients:
    """What becomes of .grad."""

    @claim("parallel.ddp-usage-clipping", notes="5", verdict=ANSWERED, says=UNKNOWN)
    @broken_by(DDP, "forward", local)
    @broken_by(DDP, "__init__", SUMMED)
    @broken_by(nn.utils, "clip_grad_norm_", lambda real: lambda p, norm: real(p, norm, norm_type=1))
    def test_clipping_after_backward_is_clipping_in_one_process(self, ranks):
        """clip_grad_norm_ after backward sees the mean in each rank: it clips as for the whole batch."""
        whole = gradient_alone(*make_batch())
        half = whole.norm().item() / 2

        seen = ranks(2, clip, half)

        for norm, clipped in seen:
            torch.testing.assert_close(norm, whole.norm(), **ROUNDING)
            torch.testing.assert_close(clipped, whole / 2, rtol=1e-5, atol=0)  # divides by the norm + 1e-6

    @claim("parallel.ddp-usage-accumulation", notes="5", verdict=ANSWERED, says=UNKNOWN)
    @broken_by(DDP, "forward", local)
    @broken_by(DDP, "forward", forgetting)
    @broken_by(DDP, "__init__", FIRST_ONLY)
    def test_gradients_accumulate_without_no_sync_too(self, ranks):
        """Two backward passes leave the sum of their means; no_sync() only spares the first exchange."""
        seen = ranks(2, accumulate)

        total = mean(gradients_alone(0)) + mean(gradients_alone(1))
        torch.testing.assert_close(seen, [total] * 2, **ROUNDING)

    @claim("parallel.ddp-usage-bucket-view", notes="5", verdict=ANSWERED, says=UNKNOWN)
    @broken_by(DDP, "__init__", with_options(gradient_as_bucket_view=False))
    @broken_by(DDP, "__init__", with_options(gradient_as_bucket_view=True))
    @broken_by(DDP, "__init__", lambda real: lambda ddp, net, **how: FIRST_ONLY(real)(ddp, net, **how))
    def test_with_bucket_views_the_gradients_are_what_travels(self, ranks):
        """With gradient_as_bucket_view=True each .grad is a part of the bucket that is averaged, no copy."""
        expected = mean(gradients_alone())

        for of_views, buckets, of_copies, tensors in ranks(2, places):
            assert (buckets, tensors) == (1, 4)  # two layers, a weight and a bias each
            torch.testing.assert_close([of_views, of_copies], [expected] * 2, **ROUNDING)


# One rank alone


def evaluate():
    """In rank 0: evaluate a net with a running mean by itself, and by its DDP; return the errors."""
    group = dist.new_group(timeout=timedelta(seconds=PATIENCE))
    ddp = DDP(nn.Sequential(make_net(), nn.BatchNorm1d(1).double()), process_group=group).eval()
    inputs, errors = make_batch()[0], []
    if dist.get_rank() == 0:
        with torch.no_grad():
            errors = [attempt(lambda each=each: each(inputs)) for each in (ddp.module, ddp)]
    dist.barrier()
    return errors


def drop(*seeds):
    """In each rank: return the units that dropout drops through DDP, after each of the rank's seeds."""
    ddp, seen = DDP(nn.Sequential(nn.Linear(1, 1), nn.Dropout())), []
    for of_ranks in seeds:
        torch.manual_seed(of_ranks[dist.get_rank()])
        seen.append((ddp(torch.ones(64, 1)) == 0).flatten().tolist())
    return seen


class TestRanksAlone:
    """What one rank does for itself."""

    @claim("parallel.ddp-usage-evaluation", notes="5", verdict=ANSWERED, says=UNKNOWN)
    @broken_by(DDP, "__init__", with_options(broadcast_buffers=False))
    @broken_by(DDP, "eval", lambda real: lambda ddp: ddp.__setattr__("broadcast_buffers", False) or real(ddp))
    def test_one_rank_evaluates_by_the_net_itself(self, ranks):
        """One rank alone can call ddp.module; the DDP of a net with buffers waits for all, in eval() too."""
        [alone, by_ddp], _ = ranks(2, evaluate)

        assert alone is None
        assert by_ddp is not None

    @claim("parallel.ddp-usage-random", notes="5", verdict=ANSWERED, says=UNKNOWN)
    @broken_by(
        DDP, "forward", lambda real: lambda ddp, x: torch.manual_seed(dist.get_rank()) and real(ddp, x)
    )
    @broken_by(DDP, "forward", lambda real: lambda ddp, x: torch.manual_seed(0) and real(ddp, x))
    def test_ddp_leaves_random_numbers_to_the_ranks(self, ranks):
        """DDP seeds nothing: ranks that are seeded alike drop the same units, others drop others."""
        first, second = ranks(2, drop, (3, 3), (3, 4))

        assert first[0] == first[1] == second[0]
        assert second[1] != second[0]
