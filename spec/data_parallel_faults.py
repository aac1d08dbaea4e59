"""Faults of nn.DataParallel that the claims of section 5 have to catch; most replace one of its methods."""

import copy
import re
import warnings

import torch
from torch import nn
from torch.nn.parallel import comm

# The wrapper


def around_a_copy(real):
    """The wrapper takes a deep copy of the net."""
    return lambda self, net, *options: real(self, copy.deepcopy(net), *options)


def one_call(real):
    """Call the net once, with the whole batch."""
    return lambda self, *inputs, **kwargs: self.module(*inputs, **kwargs)


def keeping_device_ids(real):
    """The wrapper keeps what it is given where there are no devices."""

    def init(self, net, device_ids=None):
        real(self, net, device_ids)
        self.device_ids = list(device_ids or [])

    return init


def in_parts(real):
    """Where there are no devices, the batch is cut all the same."""
    return lambda self, x: torch.cat([self.module(part) for part in x.chunk(2)])


def small_batches_whole(real):
    """Leave a batch whole if it is small."""
    return lambda self, x: self.module(x) if len(x) == 10 else real(self, x)


def warning_when_made(real):
    """The constructor warns that the class is deprecated."""

    def init(self, net):
        warnings.warn("DataParallel is deprecated", DeprecationWarning, stacklevel=2)
        real(self, net)

    return init


def warning_when_called(real):
    """A call warns that there is a better way."""

    def forward(self, x):
        warnings.warn("use DistributedDataParallel", UserWarning, stacklevel=2)
        return real(self, x)

    return forward


def looking_inside(real):
    """What the wrapper does not have is looked for in the net."""
    return lambda self, name: (
        real(self, name) if name == "module" else getattr(nn.Module.__getattr__(self, "module"), name)
    )


def without_prefix(real):
    """The keys of the wrapper's state_dict() are those of the net."""

    def state_dict(self, *options, **named):
        state = real(self, *options, **named)
        return {name.removeprefix("module."): value for name, value in state.items()}

    return state_dict


def forgiving(real):
    """A state_dict() is loaded by the ends of its keys."""
    return lambda self, state: real(self, {name.removeprefix("module."): v for name, v in state.items()})


def checking_the_first(real):
    """Look at the place of the first parameter only, and leave layers elsewhere out."""

    def forward(self, *inputs):
        if next(self.module.parameters()).device != self.src_device_obj:
            return real(self, *inputs)
        return self.module[0](*inputs)

    return forward


def checking_parameters(real):
    """The place of buffers is not looked at."""

    def forward(self, *inputs):
        buffers, self.module._buffers = self.module._buffers, {}
        try:
            return real(self, *inputs)
        finally:
            self.module._buffers = buffers

    return forward


def naming_one(real):
    """The message tells where a parameter is, and not where it has to be."""

    def forward(self, *inputs):
        try:
            return real(self, *inputs)
        except RuntimeError as error:
            raise RuntimeError(
                re.sub(r"on device \S+ \(device_ids\[0\]\)", "elsewhere", str(error))
            ) from None

    return forward


# Sharing out: by torch.nn.parallel.comm, so that shares come to be where they should


def _shares(tensor, ids, sizes=None, dim=0):
    """Return what scatter() gives for a single argument."""
    parts = comm.scatter(tensor, list(ids), sizes, dim)
    return tuple((part,) for part in parts), ({},) * len(parts)


def in_fixed_sizes(real):
    """Round the size of a share down, and give the last device the rest."""

    def scatter(self, inputs, kwargs, ids):
        rows, size = len(inputs[0]), len(inputs[0]) // len(ids)
        sizes = [size] * (len(ids) - 1) + [rows - size * (len(ids) - 1)]
        return _shares(inputs[0], ids, sizes)

    return scatter


def along_the_last_axis(real):
    """Cut along the last axis, and join along it."""

    def forward(self, *inputs):
        self.dim = -1
        return real(self, *inputs)

    return forward


def along_the_first_axis(real):
    """Cut along the first axis, whatever dim is."""
    return lambda self, inputs, kwargs, ids: _shares(inputs[0], ids)


def in_turns(real):
    """Deal the rows out in turns, as a DistributedSampler does."""

    def scatter(self, inputs, kwargs, ids):
        turns = [inputs[0][index :: len(ids)] for index in ids]
        return _shares(torch.cat(turns), ids, [len(turn) for turn in turns])

    return scatter


def to_all(real):
    """Give every device the whole batch."""

    def scatter(self, inputs, kwargs, ids):
        copies = comm.broadcast_coalesced([inputs[0]], list(ids))
        return tuple((copy,) for (copy,) in copies), ({},) * len(ids)

    return scatter


def of_one(real):
    """Return the first output only."""
    return lambda self, outputs, device: real(self, outputs[:1], device)


def added_up(real):
    """Add numbers up."""
    return lambda self, outputs, device: real(self, outputs, device).sum()


def silently(real):
    """Keep back the warning about numbers."""

    def gather(self, outputs, device):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return real(self, outputs, device)

    return gather


def with_a_plain_tuple(real):
    """Return a tuple for a namedtuple, the last part of the output."""

    def gather(self, outputs, device):
        *parts, pair = real(self, outputs, device)
        return (*parts, tuple(pair))

    return gather


def backwards(real):
    """Put the outputs together in the opposite order."""
    return lambda self, outputs, device: real(self, outputs[::-1], device)


def joined_at_the_front(real):
    """Join along the first axis, whatever dim is."""

    def gather(self, outputs, device):
        self.dim, dim = 0, self.dim
        try:
            return real(self, outputs, device)
        finally:
            self.dim = dim

    return gather


def padded(real):
    """Give devices that would have no input the last share again."""

    def scatter_kwargs(inputs, kwargs, ids, dim=0):
        inputs, kwargs = real(inputs, kwargs, ids, dim)
        last = [args for args in inputs if args][-1]
        return tuple(args or last for args in inputs), kwargs

    return scatter_kwargs


def cut_short(real):
    """Leave out devices that would have no input."""

    def scatter_kwargs(inputs, kwargs, ids, dim=0):
        inputs, kwargs = real(inputs, kwargs, ids, dim)
        used = sum(bool(args) for args in inputs)
        return inputs[:used], kwargs[:used]

    return scatter_kwargs


def keywords_whole(real):
    """Give every device the keywords as they are, of which it takes the first rows."""

    def scatter_kwargs(inputs, kwargs, ids, dim=0):
        inputs, _ = real(inputs, {}, ids, dim)
        return inputs, tuple(
            {
                name: value[: len(args[0])].to(args[0].device) if torch.is_tensor(value) else value
                for name, value in kwargs.items()
            }
            for args in inputs
        )

    return scatter_kwargs


def keywords_of_the_first(real):
    """Hand numbers given by keyword to the first device only; the others get 1."""

    def scatter_kwargs(inputs, kwargs, ids, dim=0):
        inputs, (first, *others) = real(inputs, kwargs, ids, dim)
        others = [{k: v if torch.is_tensor(v) else 1 for k, v in other.items()} for other in others]
        return inputs, (first, *others)

    return scatter_kwargs


def filled_up(real):
    """Give devices that would have nothing the last share again."""

    def scatter_kwargs(inputs, kwargs, ids, dim=0):
        inputs, kwargs = real(inputs, kwargs, ids, dim)
        missing = len(ids) - len(inputs)
        return (*inputs, *inputs[-1:] * missing), (*kwargs, *kwargs[-1:] * missing)

    return scatter_kwargs


def repeating_single_rows(real):
    """Give every device the whole of an argument with a single row."""

    def scatter(self, inputs, kwargs, ids):
        whole = [value.expand(len(ids), *value.shape[1:]) if len(value) == 1 else value for value in inputs]
        return real(self, tuple(whole), kwargs, ids)

    return scatter
