"""1.2 of the notes: creating a tensor from a shape, by zeros, ones and rand."""

import pytest
import torch

from spec.harness import fault, statement

FACTORIES = ["zeros", "ones", "rand"]


def drawn(change):
    """Return a replacement for rand that changes the numbers drawn."""
    return lambda real: lambda *size, **options: change(real(*size, **options))


@statement("tensor.factory-zeros-ones-rand", notes="1.2; notebook tensor")
@fault("ones stand on the diagonal alone", torch, "ones", lambda real: torch.eye)
@fault("ones takes the shape backwards", torch, "ones", lambda real: lambda *sizes: real(*sizes[::-1]))
@fault("ones are float64", torch, "ones", lambda real: lambda size: real(size, dtype=torch.float64))
@fault("rand requires a gradient", torch, "rand", lambda real: lambda size: real(size, requires_grad=True))
@fault("set_default_dtype does nothing", torch, "set_default_dtype", lambda real: lambda dtype: None)
@fault("rand begins at -1", torch, "rand", drawn(lambda numbers: 2 * numbers - 1))
@fault("rand rounds", torch, "rand", drawn(torch.round))
@fault("manual_seed does nothing", torch, "manual_seed", lambda real: lambda seed: None)
@fault("rand makes integers", torch, "rand", lambda real: lambda size, dtype: real(size).to(dtype))
class TestFactoryZerosOnesRand:
    """`torch.zeros`, `torch.ones` and `torch.rand` fill a tensor of a given shape with zeros, ones or random
    numbers. The random numbers are drawn evenly from the interval [0, 1). By default, the tensor is float32,
    lies on the CPU and requires no gradient.
    """

    def test_zeros_and_ones_hold_their_number(self, device):
        assert torch.zeros(2, 3, device=device).tolist() == [[0, 0, 0], [0, 0, 0]]
        assert torch.ones(2, 3, device=device).tolist() == [[1, 1, 1], [1, 1, 1]]

    @pytest.mark.parametrize("name", FACTORIES)
    def test_shape_is_given_as_numbers_or_as_one_sequence(self, name):
        make = getattr(torch, name)

        assert make(2, 3).shape == make((2, 3)).shape == make([2, 3]).shape == (2, 3)
        assert make(()).shape == ()
        assert make(0).shape == (0,)

    @pytest.mark.parametrize("name", FACTORIES)
    def test_default_is_float32_on_the_cpu_without_gradient(self, name):
        x = getattr(torch, name)(2)

        assert (x.dtype, x.device.type, x.requires_grad) == (torch.float32, "cpu", False)

    def test_default_dtype_is_a_setting(self):
        torch.set_default_dtype(torch.float64)
        try:
            made = [torch.zeros(2), torch.ones(2), torch.rand(2), torch.tensor([1.5]), torch.tensor([2j])]
        finally:
            torch.set_default_dtype(torch.float32)

        assert [x.dtype for x in made] == [torch.float64] * 4 + [torch.complex128]

    def test_rand_draws_evenly_from_0_to_1(self, device):
        numbers = torch.rand(100_000, device=device)

        assert numbers.cpu().min() >= 0
        assert numbers.cpu().max() < 1
        tenths = (numbers * 10).long().bincount(minlength=10)
        assert all(9_500 < count < 10_500 for count in tenths.tolist())  # 500 is 5 standard deviations

    def test_seed_makes_rand_repeat_itself(self):
        draws = []
        for _ in range(2):
            torch.manual_seed(0)
            draws.append([round(number, 4) for _ in range(2) for number in torch.rand(2).tolist()])

        assert draws == [[0.4963, 0.7682, 0.0885, 0.1320]] * 2

    def test_rand_refuses_integers(self):
        with pytest.raises(RuntimeError, match="not implemented for"):
            torch.rand(2, dtype=torch.int64)
