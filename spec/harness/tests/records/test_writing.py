"""The file of records: schema, outcomes, and what a killed run leaves behind."""

import errno
import json
import os
import signal

import jsonschema
import pytest
import torch

from spec.harness.errors import HarnessError
from spec.harness.records import reading, writing
from spec.harness.records.vocabulary import OUTCOMES, REASONS, SCHEMA

STATEMENTS = r"""
import os, time
import numpy as np

@pytest.fixture
def breaks_later():
    yield
    raise OSError("teardown")

@pytest.fixture
def asserts_first():
    assert 1 == 2

@statement("nn.confirmed", notes="3")
def test_confirmed(device, measured):
    "One is one."
    measured["accuracy"] = np.float32(0.5)
    measured["loss"] = float("nan")
    measured["values"] = torch.tensor(1), (np.float64(2), None)
    torch.testing.assert_close(torch.tensor(0.5), torch.tensor(0.0), atol=1.0, rtol=0.0)

@statement("nn.refuted", notes="3", verdict=WRONG, says="one is two")
def test_refuted(breaks_later):
    "One is three."
    assert 1 == 1
    assert 1 == 3, "caf\udce9 \u2028 \x85"

@statement("nn.error", notes="3")
def test_error():
    "Division works."
    1 / 0

@statement("nn.broken", notes="3")
def test_broken(breaks_later):
    "One is one."
    assert 1 == 1

@statement("nn.unready", notes="3")
def test_unready(asserts_first):
    "One is one."
    assert 1 == 1

@statement("nn.vacuous", notes="3")
def test_vacuous():
    "Nothing."

@statement("nn.timeout", notes="3")
@pytest.mark.timeout(0.2)
def test_timeout():
    "It ends."
    time.sleep(60)
    assert True

@statement("nn.case", notes="3")
@pytest.mark.parametrize("n", [7])
def test_case(n):
    "Seven is seven."
    assert n == 7
"""
DEADLY = """
@statement("nn.deadly", notes="3")
def test_deadly():
    "The process survives."
    os.kill(os.getpid(), 9)
    assert True
"""


def test_every_outcome_is_recorded_by_the_schema(recorded, monkeypatch):
    """A statement ends by the worst of setup, call and teardown; a fixture's assert refutes nothing."""
    monkeypatch.setattr(torch.accelerator, "is_available", lambda *args, **kwargs: False)

    header, _, results, end = recorded(STATEMENTS)

    assert (header["torch"], header["threads"], header["data"]) == (torch.__version__, 1, "stand-in")
    assert {"cpu", "devices", "cuda_driver", "cudnn", "nccl", "visible_devices"} <= header.keys()
    assert {"cuda_matmul", "cuda_convolution", "cudnn_benchmark"} <= header["precision"].keys()
    assert [(each["id"].removeprefix("nn."), each["outcome"], each["checks"]) for each in results] == [
        ("confirmed", "confirmed", 1),
        ("confirmed", "not checked", 0),
        ("refuted", "refuted", 1),
        ("error", "error", 0),
        ("broken", "error", 1),
        ("unready", "error", 0),
        ("vacuous", "error", 0),
        ("timeout", "timeout", 0),
        ("case", "confirmed", 1),
    ]
    assert end == {
        "kind": "end", "collected": 9, "ended": 9, "records": 9, "exit_status": 1, "seen": None
    }  # fmt: skip


def test_a_record_tells_what_was_measured_and_seen(recorded):
    """Measured values as JSON can hold them, the share of a tolerance, case, seconds, and what was seen."""
    results = recorded(STATEMENTS).results

    confirmed, refuted, error, timeout, case = (results[i] for i in (0, 2, 3, 7, 8))
    assert confirmed["measured"] == {"accuracy": 0.5, "loss": "nan", "values": [1, [2.0, None]]}
    assert (confirmed["tolerance_used"], error["tolerance_used"]) == (0.5, None)
    assert case["params"] == {"n": "7"}
    assert "assert 1 == 3" in refuted["seen"]
    assert error["seen"] == "ZeroDivisionError: division by zero"
    assert timeout["seconds"] > 0.1


def test_collecting_leaves_an_earlier_file_alone(run_spec, pytester):
    """--collect-only records nothing, and empties nothing."""
    pytester.path.joinpath("v.jsonl").write_text("earlier")

    run_spec(STATEMENTS, "--records=v.jsonl", "--collect-only")

    assert (pytester.path / "v.jsonl").read_text() == "earlier"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="SIGKILL and fork are POSIX")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_killed_run_leaves_whole_lines(recorded, pytester):
    """After a SIGKILL the file holds the header and every check that had ended, and reads as unfinished."""
    if not (child := os.fork()):
        recorded(STATEMENTS + DEADLY, "-k", "case or deadly")
        os._exit(0)
    _, status = os.waitpid(child, 0)
    with pytest.raises(reading.UnfinishedError, match="1 of an unknown number of checks") as caught:
        reading.read(pytester.path / "v.jsonl")

    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
    assert [record["id"] for record in caught.value.found.results] == ["nn.case"]


def test_a_run_that_was_stopped_reads_as_unfinished(recorded):
    """After -x the end of the file tells how many checks did not end."""
    with pytest.raises(reading.UnfinishedError, match=r"finish: 3 of 9 checks, exit status 1;"):
        recorded(STATEMENTS, "-x")


def test_a_path_that_cannot_be_written_stops_the_run(run_spec):
    """A file of records that cannot be opened is said before any test runs."""
    result = run_spec(STATEMENTS, "--records=no/such/v.jsonl")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["*--records no/such/v.jsonl: cannot write there: No such file or directory*"]
    )


def test_the_schema_is_a_schema_and_knows_every_outcome():
    """The JSON Schema is valid, and its list of outcomes and reasons is the harness's own."""
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    result = schema["$defs"]["result"]["properties"]

    assert result["outcome"]["enum"] == OUTCOMES
    assert result["reason"]["enum"][1:] == list(REASONS)


def test_a_line_without_room_leaves_no_half_of_it(tmp_path, monkeypatch):
    """What the system writes in parts is whole; where the room ends, the file ends with the line before."""
    line = {"kind": "result", "id": "nn.a", "seen": "x" * 100}
    write, room = os.write, [len(json.dumps(line)) + 20]

    def write_while_there_is_room(file, data):
        if not room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = write(file, data[: min(7, room[0])])
        room[0] -= written
        return written

    monkeypatch.setattr(os, "write", write_while_there_is_room)
    file = writing.RecordFile(tmp_path / "v.jsonl")
    file.write(line)
    with pytest.raises(HarnessError, match=r"v.jsonl: cannot write any more to it: No space left on device$"):
        file.write(line)
    file.close()

    assert file.path.read_text() == json.dumps(line) + "\n"
