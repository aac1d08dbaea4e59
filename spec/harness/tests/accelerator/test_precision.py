"""How CUDA multiplies float32: as IEEE says or in TF32, whatever was set before and what is set inside."""

from contextlib import suppress

import pytest
import torch

from spec.harness.accelerator import precision
from spec.harness.accelerator.precision import float32_precision, precision_flags

NEWER = hasattr(torch.backends.cudnn, "conv")  # the API of PyTorch 2.9
CHANGES = {
    "nothing": "",
    "high": "torch.set_float32_matmul_precision('high')",
    "medium": "torch.set_float32_matmul_precision('medium')",
    "convolutions in TF32": "torch.backends.cudnn.allow_tf32 = True",
    "convolutions as IEEE says": "torch.backends.cudnn.allow_tf32 = False",
}
NEWER_CHANGES = {
    "all in TF32": "torch.backends.fp32_precision = 'tf32'",
    "all as IEEE says": "torch.backends.fp32_precision = 'ieee'",
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


def computed_in():
    """Return the precision of products and of convolutions on CUDA."""
    flags = precision_flags()
    return flags["cuda_matmul"], flags["cuda_convolution"]


@pytest.mark.parametrize("wanted", ["ieee", "tf32"])
@pytest.mark.parametrize("state", STATES)
def test_a_block_computes_in_the_precision_wanted_and_leaves_no_trace(state, wanted):
    """Inside, all flags can be read and agree; after the block, or an error in it, all is as before."""
    exec(state)
    before, meant = precision._settings(), computed_in()

    with suppress(KeyError), float32_precision(wanted):
        inside, computed = precision._settings(), computed_in()
        flag = torch.backends.cuda.matmul.allow_tf32
        raise KeyError

    assert computed == (wanted, wanted)
    assert inside.matmul == ("high" if wanted == "tf32" else "highest")
    assert flag == inside.cudnn == (wanted == "tf32")
    after = precision._settings()
    assert (after.levels, computed_in()) == (before.levels, meant)
    assert before.matmul in (None, after.matmul)  # which could not be read before
    assert before.cudnn in (None, after.cudnn)


@pytest.mark.parametrize("state", STATES)
def test_what_a_block_sets_is_undone(state):
    """The block's own changes end with it, and leave flags that can be read; an inner block is for itself."""
    before = precision._settings()

    with float32_precision("tf32"):
        with float32_precision("ieee"):
            exec(state)
        assert computed_in() == ("tf32", "tf32")

    assert precision._settings() == before
    assert None not in before


@newer
def test_an_operator_that_inherits_its_precision_still_does():
    """A level that was left to the one above follows that one afterwards, too."""
    torch.backends.cuda.matmul.fp32_precision = torch.backends.cudnn.conv.fp32_precision = "none"
    torch.backends.fp32_precision = "tf32"

    with float32_precision("ieee"):
        pass
    torch.backends.fp32_precision = "ieee"

    assert computed_in() == ("ieee", "ieee")


def test_products_on_the_cpu_do_not_change_in_tf32():
    """The CPU's products are bit for bit the same in either precision."""
    a, b = torch.randn(2, 64, 64)

    products = []
    for wanted in ("ieee", "tf32"):
        with float32_precision(wanted):
            products.append(a @ b)

    assert torch.equal(*products)


def test_every_flag_is_seen_to_change_and_cuda_is_left_alone(monkeypatch):
    """Each of them is asked of PyTorch: set the other way round, it is told the other way round."""
    monkeypatch.setattr(torch.cuda, "_lazy_init", lambda: pytest.fail("CUDA was initialised"))
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: True)
    monkeypatch.setattr(torch, "get_default_dtype", lambda: torch.float64)
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
def test_a_flag_that_pytorch_refuses_to_read_is_mixed():
    """Told is what is computed, and that the settings disagree."""
    torch.backends.cuda.matmul.fp32_precision = "tf32"

    flags = precision_flags()

    assert (flags["float32_matmul"], flags["cuda_matmul"]) == ("mixed", "tf32")


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
