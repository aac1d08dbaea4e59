"""An environment for a release: what is installed there, by pip itself, and when it counts as whole."""

import zipfile

import pytest

from spec.harness.runs import environments, logged

PROJECT = """
[project]
dependencies = ["torch>=2.6,<2.16", "torchtoy>=0.21,<0.30", "numpy>=1.26", "tqdm"]
optional-dependencies = { games = ["gymnasium>=1"], dev = ["mypy==2.*"] }
"""
TOY = '[project]\ndependencies = ["torch>=2.6,<2.16", "torchtoy"]\n'
RECORD = "{0}/__init__.py,,\n{0}-{1}.dist-info/METADATA,,\n{0}-{1}.dist-info/WHEEL,,\n"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Return a function that writes a pyproject.toml in the place of this project's."""
    monkeypatch.setattr(environments, "ROOT", tmp_path)
    return tmp_path.joinpath("pyproject.toml").write_text


def make_wheel(folder, name, version):
    """Write a package that says nothing but its version."""
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}/__init__.py", f"__version__ = '{version}+toy'\n")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", RECORD.format(name, version))


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A folder of wheels, which is all that pip knows."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for version in ("2.8.0", "2.9.1", "2.10.0"):
        make_wheel(folder, "torch", version)
    make_wheel(folder, "torchtoy", "0.3")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


WANTED = {  # for supported releases, an older and a newer one
    "2.9": ["torch==2.9.*", "torchtoy<0.30,>=0.21", "numpy>=1.26"],
    "2.9.1": ["torch==2.9.1.*", "torchtoy<0.30,>=0.21", "numpy>=1.26"],
    "2.5": ["torch==2.5.*", "torchtoy", "numpy>=1.26"],
    "2.16": ["torch==2.16.*", "torchtoy", "numpy>=1.26"],
}


@pytest.mark.parametrize(("release", "first"), WANTED.items(), ids=WANTED)
def test_a_release_gets_what_the_project_needs(project, release, first):
    """All dependencies and extras but `dev`; the range of PyTorch's own packages is that of the project's."""
    project(PROJECT)

    assert environments.wanted(release) == [*first, "tqdm", "gymnasium>=1"]


def test_this_project_says_which_pytorch_it_supports():
    """Its pyproject.toml can be read, and names torch."""
    assert environments.oldest_supported() == "2.6"
    assert "torch==2.9.*" in environments.wanted("2.9")


@pytest.mark.slow
def test_pip_makes_an_environment_or_says_why_not(project, shop, tmp_path):
    """The newest patch of the release is installed; a release that is nowhere leaves nothing that counts."""
    project(TOY)
    folder, log = tmp_path / "2.9", tmp_path / "log"

    environments.make(folder, "2.9", log)

    assert environments.torch(folder, "2.9") == "2.9.1+toy"
    assert not folder.joinpath("tmp").exists()
    assert "Successfully installed torch-2.9.1 torchtoy-0.3" in log.read_text()
    with pytest.raises(
        logged.StepError, match=r"^No matching distribution found for torch==2\.99\.\* \(see "
    ):
        environments.make(folder, "2.99", log)
    assert environments.torch(folder, "2.99") is None
    assert not folder.exists()
