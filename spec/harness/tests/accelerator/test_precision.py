"""spec/harness/accelerator/precision.py: float32 on CUDA as IEEE says or in TF32, and the flags."""

import pytest
import torch

from spec.harness.accelerator import precision
from spec.harness.accelerator.precision import float32_precision, precision_flags

NEWER = hasattr(torch.backends.cudnn, "conv")  # the API of PyTorch 2.9
CHANGES = {
    "nothing": "",
    "products in TF32": "torch.backends.cuda.matmul.allow_tf32 = True",
    "products as IEEE says": "torch.backends.cuda.matmul.allow_tf32 = False",
    "high": "torch.set_float32_matmul_precision('high')",
    "medium": "torch.set_float32_matmul_precision('medium')",
    "convolutions in TF32": "torch.backends.cudnn.allow_tf32 = True",
    "convolutions as IEEE says": "torch.backends.cudnn.allow_tf32 = False",
}
NEWER_CHANGES = {
    "all in TF32": "torch.backends.fp32_precision = 'tf32'",
    "all as IEEE says": "torch.backends.fp32_precision = 'ieee'",
    "all in bfloat16": "torch.backends.fp32_precision = 'bf16'",
    "all of CUDA in TF32": "torch.backends.cudnn.fp32_precision = 'tf32'",
    "only products in TF32": "torch.backends.cuda.matmul.fp32_precision = 'tf32'",
    "flag high, products as IEEE says": (
        "torch.set_float32_matmul_precision('high'); torch.backends.cuda.matmul.fp32_precision = 'ieee'"
    ),
    "only convolutions as IEEE says": "torch.backends.cudnn.conv.fp32_precision = 'ieee'",
    "products on the CPU in bfloat16": "torch.backends.mkldnn.matmul.fp32_precision = 'bf16'",
}
newer = pytest.mark.skipif(not NEWER, reason="PyTorch before 2.9 has the flags alone")
STATES = [pytest.param(code, id=name) for name, code in CHANGES.items()]
STATES += [pytest.param(code, id=name, marks=newer) for name, code in NEWER_CHANGES.items()]
FLAGS = (
    torch.get_float32_matmul_precision,
    lambda: torch.backends.cuda.matmul.allow_tf32,
    lambda: torch.backends.cudnn.allow_tf32,
)


@pytest.fixture(autouse=True)
def defaults():
    """PyTorch's own settings, before and after."""

    def put_back():
        for level in precision._levels():
            level.fp32_precision = "none"
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = True
        torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = True
        torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = True

    put_back()
    yield
    put_back()


def levels():
    """Return what PyTorch computes in, on each level, by the API of 2.9."""
    return [level.fp32_precision for level in precision._levels()]


def readable():
    """Return what the flags say, None for one that cannot be read."""

    def value_of(flag):
        try:
            return flag()
        except RuntimeError:
            return None

    return [value_of(flag) for flag in FLAGS]


def computed_in():
    """Return the precision of products and of convolutions on CUDA."""
    flags = precision_flags()
    return flags["cuda_matmul"], flags["cuda_convolution"]


@pytest.mark.parametrize("wanted", ["ieee", "tf32"])
@pytest.mark.parametrize("state", STATES)
class TestFromEveryState:
    """Whatever was set before, by the flags or by the API of PyTorch 2.9."""

    def test_products_and_convolutions_are_in_the_precision_wanted(self, state, wanted):
        """Both settings say so: the flags can be read, and agree."""
        exec(state)

        with float32_precision(wanted):
            assert computed_in() == (wanted, wanted)
            assert readable() == ["high" if wanted == "tf32" else "highest"] + [wanted == "tf32"] * 2

    def test_precision_on_every_level_is_restored(self, state, wanted):
        """Every operator is computed as before, and no flag that could be read before is lost."""
        exec(state)
        before, flags, meant = levels(), readable(), computed_in()

        with float32_precision(wanted):
            pass

        assert (levels(), computed_in()) == (before, meant)
        for was, now in zip(flags, readable(), strict=True):
            assert was is None or now == was

    def test_what_a_block_sets_is_undone(self, state, wanted):
        """The block's own changes end with it, and leave flags that can be read."""
        before, flags = levels(), readable()

        with float32_precision(wanted):
            exec(state)

        assert (levels(), readable()) == (before, flags)


DISAGREEING = {
    "products": "torch.backends.cuda.matmul.fp32_precision = 'tf32'",
    "products, in bfloat16 on the CPU": (
        "torch.backends.cuda.matmul.fp32_precision = 'tf32'; "
        "torch.backends.mkldnn.matmul.fp32_precision = 'bf16'"
    ),
    "convolutions": "torch.backends.cudnn.allow_tf32 = False; torch.backends.cudnn.fp32_precision = 'tf32'",
}


@newer
@pytest.mark.parametrize("state", DISAGREEING.values(), ids=DISAGREEING)
def test_flags_that_disagreed_agree_afterwards(state):
    """What only the new API set stays in TF32, and torch.compile can then read the flags of it."""
    exec(state)
    before, flags, meant = levels(), readable(), computed_in()

    with float32_precision("ieee"):
        pass

    assert None in flags
    assert None not in readable()
    assert (levels(), computed_in()) == (before, meant)


@newer
def test_an_operator_that_inherits_its_precision_still_does():
    """A level that was left to the one above follows that one afterwards, too."""
    torch.backends.cuda.matmul.fp32_precision = torch.backends.cudnn.conv.fp32_precision = "none"
    torch.backends.fp32_precision = "tf32"

    with float32_precision("ieee"):
        pass
    torch.backends.fp32_precision = "ieee"

    assert computed_in() == ("ieee", "ieee")


def test_precision_is_restored_after_an_error():
    """An error leaves the block as its end does."""
    with pytest.raises(KeyError), float32_precision("tf32"):
        raise KeyError

    assert computed_in() == ("ieee", "tf32")


def test_blocks_nest():
    """The inner block is for itself."""
    seen = []
    with float32_precision("tf32"):
        with float32_precision("ieee"):
            seen.append(computed_in())
        seen.append(computed_in())

    assert seen == [("ieee", "ieee"), ("tf32", "tf32")]


def test_products_on_the_cpu_do_not_change_in_tf32():
    """The CPU's products are bit for bit the same in either precision."""
    a, b = torch.randn(2, 64, 64)

    products = []
    for wanted in ("ieee", "tf32"):
        with float32_precision(wanted):
            products.append(a @ b)

    assert torch.equal(*products)


def test_other_precisions_are_refused():
    """CUDA has two."""
    message = r'^expected the precision "ieee" or "tf32", got \'bf16\'$'

    with pytest.raises(ValueError, match=message), float32_precision("bf16"):
        pass


class TestFlags:
    """The flags as they stand."""

    def test_every_flag_is_seen_to_change(self, monkeypatch):
        """Each of them is asked of PyTorch: set the other way round, it is told the other way round."""
        monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
        monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: True)
        monkeypatch.setattr(precision.torch, "get_default_dtype", lambda: torch.float64)
        monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
        monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
        torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
        torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
        torch.set_float32_matmul_precision("medium")
        torch.backends.cudnn.allow_tf32 = False

        assert precision_flags() == {
            "default_dtype": "torch.float64",
            "float32_matmul": "medium",
            "cuda_matmul": "tf32",
            "cuda_convolution": "ieee",
            "float16_reduced_reduction": False,
            "bfloat16_reduced_reduction": False,
            "deterministic": True,
            "cudnn_deterministic": True,
            "cudnn_benchmark": True,
            "tf32_override": "0",
        }

    @newer
    def test_a_flag_that_pytorch_refuses_to_read_is_mixed(self):
        """Told is what is computed, and that the settings disagree."""
        torch.backends.cuda.matmul.fp32_precision = "tf32"

        flags = precision_flags()

        assert (flags["float32_matmul"], flags["cuda_matmul"]) == ("mixed", "tf32")

    def test_cuda_is_left_alone(self, monkeypatch):
        """Flags can be told before any process uses the GPU."""
        monkeypatch.setattr(torch.cuda, "_lazy_init", lambda: pytest.fail("CUDA was initialised"))

        assert precision_flags()["cuda_matmul"] == "ieee"


@pytest.mark.gpu
def test_products_on_a_gpu_are_close_to_float64_as_ieee_says_only():
    """Rounding to 10 bits of fraction shows: TF32 is off by more than 1e-4 of the largest product."""
    if not torch.cuda.is_available() or torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("TF32 needs CUDA of compute capability 8.0")
    a, b = torch.randn(2, 256, 256, dtype=torch.float64).float().cuda()
    exact = a.double() @ b.double()

    errors = {}
    for wanted in ("ieee", "tf32"):
        with float32_precision(wanted):
            errors[wanted] = ((a @ b - exact).abs().max() / exact.abs().max()).item()

    assert errors["ieee"] < 1e-5
    assert errors["tf32"] > 1e-4
