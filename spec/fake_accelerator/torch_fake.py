"""An accelerator without hardware, for the checks on accelerators: `torch.device("fake")`.

With this folder on PYTHONPATH, PyTorch itself loads it into every process that imports torch, as it loads any
backend of a third party (the entry point `torch.backends`). The first process compiles it and keeps it in the
user's cache, which takes a minute and a C++ compiler.

Environment:
    FAKE_ACCELERATORS: how many devices there are, 1 unless it says otherwise.
    FAKE_LIES: operators that give false answers, such as "isclose,all"; torch_fake_lies lists them.
    CXX: the compiler, c++ unless it says otherwise.
    BLITZ_CACHE: where the compiled library is kept, else in the user's cache.
"""

import hashlib
import os
import subprocess
import tempfile
from pathlib import Path

import torch

SOURCE = Path(__file__).with_suffix(".cpp")


class DeviceContext:
    """`with torch.fake.device(1)`: another current device for a while."""

    def __init__(self, device: torch.device | int) -> None:
        self.index = device if isinstance(device, int) else torch.device(device).index or 0

    def __enter__(self) -> None:
        self.before = FakeModule.current_device()
        FakeModule.set_device(self.index)

    def __exit__(self, *raised: object) -> None:
        FakeModule.set_device(self.before)


class FakeModule:
    """`torch.fake`: what PyTorch asks the module of an accelerator for."""

    device = DeviceContext

    @staticmethod
    def is_available() -> bool:
        """Tell whether there is a device."""
        return FakeModule.device_count() > 0

    @staticmethod
    def is_initialized() -> bool:
        """There is nothing to initialize."""
        return True

    @staticmethod
    def _is_in_bad_fork() -> bool:
        return False

    @staticmethod
    def device_count() -> int:
        """Return the number of devices."""
        return int(os.environ.get("FAKE_ACCELERATORS", "1"))

    @staticmethod
    def current_device() -> int:
        """Return the index of the current device."""
        return int(torch._C._accelerator_getDeviceIndex())

    @staticmethod
    def set_device(device: torch.device | int) -> None:
        """Change the current device."""
        index = device if isinstance(device, int) else device.index
        torch._C._accelerator_setDeviceIndex(index)

    @staticmethod
    def synchronize(device: torch.device | int | None = None) -> None:
        """Return at once: nothing is ever under way."""

    @staticmethod
    def get_device_name(device: torch.device | int | None = None) -> str:
        """Say what it is."""
        return "no hardware"

    @staticmethod
    def manual_seed(seed: int) -> None:
        """Leave it to the CPU, whose generator this device draws from."""

    manual_seed_all = manual_seed

    @staticmethod
    def get_rng_state(device: torch.device | int | None = None) -> torch.Tensor:
        """Return the state of the CPU's generator."""
        return torch.get_rng_state()

    @staticmethod
    def set_rng_state(state: torch.Tensor, device: torch.device | int | None = None) -> None:
        """Leave it to the CPU, whose state is kept as well."""

    @staticmethod
    def get_amp_supported_dtype() -> list[torch.dtype]:
        """Return the types that autocast may choose."""
        return [torch.float16, torch.bfloat16]


def autoload() -> None:
    """Make "fake" a device of PyTorch, which calls this at the end of `import torch`."""
    torch.ops.load_library(library())
    torch.utils.rename_privateuse1_backend("fake")
    torch._register_device_module("fake", FakeModule)
    torch.utils.generate_methods_for_privateuse1_backend()
    if lies := os.environ.get("FAKE_LIES"):
        import torch_fake_lies

        FakeModule.lies = torch_fake_lies.tell(lies.split(","))


def library() -> Path:
    """Return the compiled library, compiled first if this PyTorch has none of this source yet.

    Raises:
        RuntimeError: it cannot be compiled here; the message says what the compiler said.
    """
    key = f"{torch.__version__}-{hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:12]}"
    path = cache_folder() / f"torch_fake-{key}.so"
    if not path.exists():
        from filelock import FileLock  # torch depends on it; most processes do without

        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            if not path.exists():  # another process may just have compiled it
                build(path)
    return path


def cache_folder() -> Path:
    """Return the user's cache as blitz.cifar10.cache finds it, which nobody may import in `import torch`."""
    named = os.environ.get("BLITZ_CACHE")
    folder = Path(named or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "blitz")
    return folder.expanduser()


def build(path: Path) -> None:
    """Compile the library beside `path`, and give it that name when it is whole."""
    # Not by torch.utils.cpp_extension: that needs ninja, and its lock outlives a process that is killed.
    home = Path(torch.__file__).parent
    compiler = os.environ.get("CXX", "c++")
    options = ["-std=c++20", "-O1", "-w", "-fPIC", "-shared"]
    abi = f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}"
    headers = [f"-I{home / 'include'}", f"-I{home / 'include/torch/csrc/api/include'}"]
    libraries = [f"-L{home / 'lib'}", "-lc10", "-ltorch_cpu", "-ltorch"]
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        whole = Path(folder) / path.name
        command = [compiler, *options, abi, *headers, str(SOURCE), "-o", str(whole), *libraries]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except OSError as error:
            raise RuntimeError(
                f"the fake accelerator needs a C++20 compiler, {compiler} is none ({error.strerror}): "
                "install g++, name one in CXX, or take spec/fake_accelerator off PYTHONPATH"
            ) from None
        except subprocess.CalledProcessError as error:
            raise RuntimeError(
                f"{compiler} could not compile {SOURCE} for PyTorch {torch.__version__}:\n"
                f"{error.stderr[-2000:]}"
            ) from None
        os.replace(whole, path)
