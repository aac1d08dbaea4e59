"""The list of what is timed; by each name two runs are compared, and none can be missing unnoticed."""

from spec.benchmarks import autograd, data, replicas, starting, tensors, training

ON_A_DEVICE = [
    *training.OPERATIONS,
    *data.OPERATIONS,
    *tensors.OPERATIONS,
    *autograd.OPERATIONS,
    *replicas.OPERATIONS,
]
ON_NO_DEVICE = [data.decoding_of_jpeg_images, starting.help_of_blitz]  # the same whatever the device

OPERATIONS = [*ON_A_DEVICE, *ON_NO_DEVICE]
