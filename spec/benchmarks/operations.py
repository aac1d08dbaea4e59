"""The list of what is timed; by each name two runs are compared, and none can be missing unnoticed."""

from spec.benchmarks import autograd, data, replicas, starting, tensors, training, updates

ON_A_DEVICE = [
    *training.OPERATIONS,
    *data.OPERATIONS,
    *tensors.OPERATIONS,
    *autograd.OPERATIONS,
    *updates.OPERATIONS,
    *replicas.OPERATIONS,
]
ON_NO_DEVICE = [*data.DECODING, *starting.OPERATIONS]  # what is the same whatever the device

OPERATIONS = [*ON_A_DEVICE, *ON_NO_DEVICE]
