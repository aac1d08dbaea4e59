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
from spec.harness.statements.contract import REASONS
from spec.harness.statements.outcomes import OUTCOMES

STATEMENTS = """
import os, time
import numpy as np

@statement("nn.confirmed", notes="3")
def test_confirmed(device, measured):
    "One is one."
    measured["accuracy"] = np.float32(0.5)
    measured["loss"] = float("nan")
    measured["values"] = torch.tensor(1), (np.float64(2), None)
    torch.testing.assert_close(torch.ones(1), torch.ones(1))

@statement("nn.refuted", notes="3", verdict=WRONG, says="one is two")
def test_refuted():
    "One is three."
    assert 1 == 3

@statement("nn.error", notes="3")
def test_error():
    "Division works."
    1 / 0

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

@statement("nn.later", notes="3")
def test_later():
    "One is one."
    assert 1 == 1
"""


def validate(path):
    """Return header, records by name and end of a file whose every line fits the schema."""
    schema = json.loads(writing.SCHEMA.read_text())
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        jsonschema.validate(line, schema)
    assert [line["kind"] for line in lines] == ["header"] + ["result"] * (len(lines) - 2) + ["end"]
    return lines[0], {line["node"].split("::")[1]: line for line in lines[1:-1]}, lines[-1]


def test_every_outcome_is_recorded_by_the_schema(run_spec, pytester, monkeypatch):
    """Each way in which a statement can end has its outcome, and every line fits the JSON Schema."""
    monkeypatch.setattr(torch.accelerator, "is_available", lambda *args, **kwargs: False)
    run_spec(STATEMENTS, "--records=v.jsonl")
    header, records, end = validate(pytester.path / "v.jsonl")

    assert (header["torch"], header["threads"], header["data"]) == (torch.__version__, 1, "stand-in")
    assert {"cpu", "devices", "cuda_driver", "cudnn", "nccl", "visible_devices"} <= header.keys()
    assert {"cuda_matmul", "cuda_convolution", "cudnn_benchmark"} <= header["precision"].keys()
    assert {name: record["outcome"] for name, record in records.items()} == {
        "test_confirmed[cpu]": "confirmed",
        "test_confirmed[accelerator]": "not checked",
        "test_refuted": "refuted",
        "test_error": "error",
        "test_vacuous": "error",
        "test_timeout": "timeout",
        "test_case[7]": "confirmed",
    }
    assert end == {
        "kind": "end", "collected": 7, "ended": 7, "records": 7, "exit_status": 1, "seen": None
    }  # fmt: skip


def test_a_record_tells_what_was_measured(run_spec, pytester):
    """Measured values, checks, case, seconds and what was seen stand in the record."""
    run_spec(STATEMENTS, "--records=v.jsonl")
    _, records, _ = validate(pytester.path / "v.jsonl")

    confirmed = records["test_confirmed[cpu]"]
    assert confirmed["measured"] == {"accuracy": 0.5, "loss": "nan", "values": [1, [2.0, None]]}
    assert confirmed["checks"] == 1
    assert records["test_case[7]"]["params"] == {"n": "7"}
    assert records["test_refuted"]["seen"].startswith("assert 1 == 3")
    assert records["test_error"]["seen"] == "ZeroDivisionError: division by zero"
    assert records["test_timeout"]["seconds"] > 0.1


ENDINGS = r"""
@pytest.fixture
def breaks_later():
    yield
    raise OSError("teardown")

@pytest.fixture
def asserts_first():
    assert 1 == 2

@statement("nn.refuted", notes="3")
def test_refuted(breaks_later):
    "One is one."
    assert 1 == 1
    assert 1 == 2, "caf\udce9 \u2028 \x85"

@statement("nn.broken", notes="3")
def test_broken(breaks_later):
    "One is one."
    assert 1 == 1

@statement("nn.unready", notes="3")
def test_unready(asserts_first):
    "One is one."
    assert 1 == 1
"""


def test_a_record_keeps_the_worst_of_setup_call_and_teardown(run_spec, pytester):
    """A teardown overwrites no refutation, a fixture's assert refutes nothing, any text can be written."""
    run_spec(ENDINGS, "--records=v.jsonl")
    records = reading.read(pytester.path / "v.jsonl").results

    ends = {record["id"]: (record["outcome"], record["checks"]) for record in records}
    assert ends == {"nn.refuted": ("refuted", 1), "nn.broken": ("error", 1), "nn.unready": ("error", 0)}


def test_collecting_leaves_an_earlier_file_alone(run_spec, pytester):
    """--collect-only records nothing, and empties nothing."""
    run_spec(STATEMENTS, "--records=v.jsonl", "-k", "case")
    before = (pytester.path / "v.jsonl").read_text()

    run_spec(STATEMENTS, "--records=v.jsonl", "--collect-only")

    assert (pytester.path / "v.jsonl").read_text() == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="SIGKILL and fork are POSIX")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_killed_run_leaves_whole_lines(run_spec, pytester):
    """After a SIGKILL the file holds the header and every check that had ended, and reads as unfinished."""
    if not (child := os.fork()):
        run_spec(STATEMENTS + DEADLY, "--records=v.jsonl", "-k", "case or deadly or later")
        os._exit(0)
    _, status = os.waitpid(child, 0)
    with pytest.raises(reading.UnfinishedError, match="1 of an unknown number of checks") as caught:
        reading.read(pytester.path / "v.jsonl")

    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
    assert [record["id"] for record in caught.value.found.results] == ["nn.case"]


def test_a_run_that_was_stopped_reads_as_unfinished(run_spec, pytester):
    """After -x the end of the file tells how many checks did not end."""
    run_spec(STATEMENTS, "--records=v.jsonl", "-x")

    with pytest.raises(reading.UnfinishedError, match=r"finish: 3 of 7 checks, exit status 1;"):
        reading.read(pytester.path / "v.jsonl")


def test_a_path_that_cannot_be_written_stops_the_run(run_spec):
    """A file of records that cannot be opened is said before any test runs."""
    result = run_spec(STATEMENTS, "--records=no/such/folder/v.jsonl")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["*--records no/such/folder/v.jsonl: cannot write there: No such file or directory*"]
    )


def test_the_schema_is_a_schema_and_knows_every_outcome():
    """The JSON Schema is valid, and its list of outcomes and reasons is the harness's own."""
    schema = json.loads(writing.SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    result = schema["$defs"]["result"]["properties"]

    assert result["outcome"]["enum"] == OUTCOMES
    assert result["reason"]["enum"][1:] == list(REASONS)


LINE = {"kind": "result", "id": "nn.a", "seen": "x" * 100}


@pytest.fixture
def record_file(tmp_path):
    """Return a file of records that is open, and close it at the end."""
    file = writing.RecordFile(tmp_path / "v.jsonl")
    yield file
    file.close()


def test_a_line_that_the_system_writes_in_parts_is_whole(record_file, monkeypatch):
    """What os.write leaves over is written by the next call."""
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:7]))

    record_file.write(LINE)
    record_file.write(LINE)

    assert [json.loads(line) for line in record_file.path.read_text().splitlines()] == [LINE, LINE]


def test_a_line_without_room_leaves_no_half_of_it(record_file, monkeypatch):
    """Where the room ends within a line, the file ends with the line before, and one sentence says why."""
    write, room = os.write, [len(json.dumps(LINE)) + 1 + 20]

    def write_while_there_is_room(file, data):
        if not room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = write(file, data[: room[0]])
        room[0] -= written
        return written

    monkeypatch.setattr(os, "write", write_while_there_is_room)
    record_file.write(LINE)
    with pytest.raises(HarnessError, match=r"v.jsonl: cannot write any more to it: No space left on device$"):
        record_file.write(LINE)

    assert record_file.path.read_text() == json.dumps(LINE) + "\n"
