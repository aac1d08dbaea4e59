"""How long optim.SGD takes to update the notes' Net: parameter by parameter, in groups, or in one kernel."""

import torch

from spec.benchmarks.builders import Builder, Operation, cifar_net, named, repeated

FORMS = {
    "loop": {"foreach": False},
    "foreach": {"foreach": True},
    "fused": {"fused": True},
}
FUSED_ON = {"cpu", "cuda"}


def sgd_by(form: str) -> Builder:
    """Return the builder of twenty updates with momentum, with gradients that stay the same."""

    def builder(device: torch.device) -> Operation:
        if form == "fused" and device.type not in FUSED_ON:
            raise NotImplementedError(f"fused SGD is not currently supported on {device.type}")
        net = cifar_net(device)
        for parameter in net.parameters():
            parameter.grad = torch.ones_like(parameter)
        # with a learning rate of zero the weights stay as well, which costs no less
        optimizer = torch.optim.SGD(net.parameters(), lr=0.0, momentum=0.9, **FORMS[form])
        return repeated(optimizer.step, 20, device)

    return named(f"sgd_by_{form}", builder)


OPERATIONS = [sgd_by(form) for form in FORMS]
