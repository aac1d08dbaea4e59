"""1.2 of the notes: creating a tensor from a shape, by zeros, ones and rand."""

from contextlib import contextmanager

import pytest
import torch

from spec.harness import fault, statement


@contextmanager
def default_dtype(dtype):
    """Have PyTorch create floating point numbers as `dtype` for a while."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@statement("tensor.factory-zeros-ones-rand", notes="1.2; notebook tensor")
@fault(
    "zeros are tiny numbers",
    torch,
    "zeros",
    lambda real: lambda *size, **options: real(*size, **options) + 1e-30,
)
@fault(
    "ones are a little too large",
    torch,
    "ones",
    lambda real: lambda *size, **options: real(*size, **options) * (1 + 1e-6),
)
@fault(
    "ones stand on the diagonal alone",
    torch,
    "ones",
    lambda real: lambda *size, **options: torch.eye(*size, **options),
)
@fault(
    "zeros takes the shape backwards",
    torch,
    "zeros",
    lambda real: lambda *size: real(size[::-1]) if len(size) > 1 else real(*size),
)
@fault(
    "ones adds up a list of sizes",
    torch,
    "ones",
    lambda real: lambda *size: real(*map(sum, size) if type(size[0]) is list else size),
)
@fault(
    "rand of no axis has one",
    torch,
    "rand",
    lambda real: lambda *size: real(*size) if size[0] != () else real(1),
)
@fault(
    "a negative size counts as 0", torch, "zeros", lambda real: lambda *size: real([max(n, 0) for n in size])
)
@fault(
    "a negative size loses its sign", torch, "ones", lambda real: lambda *size: real([abs(n) for n in size])
)
@fault("rand takes a size modulo 4", torch, "rand", lambda real: lambda *size: real([n % 4 for n in size]))
@fault("zeros are float64", torch, "zeros", lambda real: lambda size: real(size, dtype=torch.float64))
@fault("ones lie on meta", torch, "ones", lambda real: lambda size: real(size, device="meta"))
@fault("rand requires a gradient", torch, "rand", lambda real: lambda size: real(size, requires_grad=True))
@fault(
    "zeros ignores the default dtype",
    torch,
    "zeros",
    lambda real: lambda size: real(size, dtype=torch.float32),
)
@fault("rand ignores the default dtype", torch, "rand", lambda real: lambda size: real(size).float())
@fault("set_default_dtype does nothing", torch, "set_default_dtype", lambda real: lambda dtype: None)
@fault("rand begins at -1", torch, "rand", lambda real: lambda size, **options: 2 * real(size, **options) - 1)
@fault(
    "rand prefers the middle",
    torch,
    "rand",
    lambda real: lambda size, **options: real(2, size, **options).mean(0),
)
@fault("rand rounds", torch, "rand", lambda real: lambda size, **options: real(size, **options).round())
@fault("rand ends at 0.99", torch, "rand", lambda real: lambda size, **options: real(size, **options) * 0.99)
@fault("manual_seed does nothing", torch, "manual_seed", lambda real: lambda seed: None)
@fault("manual_seed takes another seed", torch, "manual_seed", lambda real: lambda seed: real(seed + 1))
@fault("rand draws backwards", torch, "rand", lambda real: lambda size: real(size).flip(0))
@fault(
    "rand always draws the same", torch, "rand", lambda real: lambda size: torch.manual_seed(0) and real(size)
)
@fault("rand makes integers", torch, "rand", lambda real: lambda size, dtype: real(size).to(dtype))
@fault(
    "rand takes uint8 for float32",
    torch,
    "rand",
    lambda real: lambda size, dtype: real(size, dtype=None if dtype == torch.uint8 else dtype),
)
class TestFactoryZerosOnesRand:
    """zeros, ones and rand make a tensor of the given shape: of zeros, of ones, and of numbers drawn evenly
    from [0, 1). By default it is float32, on the CPU, and requires no gradient.
    """

    def test_zeros_and_ones_fill_the_shape_with_their_number(self, device):
        assert torch.zeros(2, 3, device=device).tolist() == [[0, 0, 0], [0, 0, 0]]
        assert torch.ones(2, 3, device=device).tolist() == [[1, 1, 1], [1, 1, 1]]

    def test_shape_is_given_as_numbers_or_as_one_sequence(self):
        for make in (torch.zeros, torch.ones, torch.rand):
            shapes = [
                make(2, 3).shape,
                make((2, 3)).shape,
                make([2, 3]).shape,
                make(torch.Size([2, 3])).shape,
            ]

            assert shapes == [(2, 3)] * 4
            assert make(()).shape == ()
            assert make(0).shape == (0,)

    def test_negative_size_is_refused(self):
        for make in (torch.zeros, torch.ones, torch.rand):
            with pytest.raises(RuntimeError, match="negative"):
                make(2, -1)

    def test_factories_make_float32_on_the_cpu_without_gradient(self):
        made = [torch.zeros(2), torch.ones(2), torch.rand(2)]

        assert [x.dtype for x in made] == [torch.float32] * 3
        assert [x.device for x in made] == [torch.device("cpu")] * 3
        assert [x.requires_grad for x in made] == [False] * 3

    def test_default_dtype_is_a_setting(self):
        with default_dtype(torch.float64):
            made = [torch.zeros(2), torch.ones(2), torch.rand(2)]

        assert [x.dtype for x in made] == [torch.float64] * 3

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
        for name in ("uint8", "int8", "int16", "int32", "int64", "bool"):
            with pytest.raises(RuntimeError, match=r"not implemented for '(Byte|Char|Short|Int|Long|Bool)'"):
                torch.rand(2, dtype=getattr(torch, name))
