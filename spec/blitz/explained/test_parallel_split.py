"""blitz/explained/parallel.py: a batch cut into shares, and outputs put together."""

from collections import Counter, OrderedDict, defaultdict, namedtuple
from re import escape

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from blitz.explained.parallel import gather, share_sizes, split

Pair = namedtuple("Pair", ["left", "right"])


def leaves(value, path=()):
    """Return what a nested form holds by its path, whose steps tell the types: (dict, "a"), (list, 0)."""
    if isinstance(value, dict):
        steps = list(value.items())
    elif isinstance(value, (tuple, list)):
        steps = list(enumerate(value))
    else:
        return {path: value}
    found = {(*path, type(value)): len(steps)}
    for step, part in steps:
        found |= leaves(part, (*path, (type(value), step)))
    return found


def written_out(value):
    """Return the leaves of a nested form in order, each with its path, tensors as lists."""
    return [
        (path, leaf.tolist() if isinstance(leaf, torch.Tensor) else leaf)
        for path, leaf in leaves(value).items()
    ]


SIZES = {
    "the notes' 2 devices": (30, 2, [15, 15]),
    "the notes' 3 devices": (30, 3, [10, 10, 10]),
    "the notes' 8 devices": (30, 8, [4, 4, 4, 4, 4, 4, 4, 2]),
    "the last gets less": (30, 4, [8, 8, 8, 6]),
    "the last gets none": (9, 4, [3, 3, 3]),
    "three of eight get none": (10, 8, [2, 2, 2, 2, 2]),
    "a row each": (4, 4, [1, 1, 1, 1]),
    "fewer rows than devices": (2, 5, [1, 1]),
    "one row": (1, 3, [1]),
    "one device": (7, 1, [7]),
    "no rows": (0, 3, [0, 0, 0]),
    "no rows for one device": (0, 1, [0]),
}


class TestShareSizes:
    """How many rows each device gets."""

    @pytest.mark.parametrize(("rows", "devices", "sizes"), SIZES.values(), ids=SIZES)
    def test_each_device_gets_the_rounded_up_share_until_none_is_left(self, rows, devices, sizes):
        """⌈rows / devices⌉ for each, then what is left, then nothing; without rows, 0 for each."""
        assert share_sizes(rows, devices) == sizes

    @settings(max_examples=40)
    @given(rows=st.integers(0, 100), devices=st.integers(1, 12))
    def test_sizes_are_those_of_chunk(self, rows, devices):
        """Tensor.chunk, which nn.DataParallel scatters by, gives shares of the same sizes."""
        sizes = share_sizes(rows, devices)

        assert sizes == [len(part) for part in torch.empty(rows).chunk(devices)]

    def test_sizes_are_exact_beyond_the_precision_of_a_float(self):
        """The share is rounded up among integers: 2⁵³ + 1 is no float64."""
        assert share_sizes(2**53 + 1, 1) == [2**53 + 1]

    @pytest.mark.parametrize(("rows", "devices"), [(3, 0), (3, -1), (-1, 2), (0, 0)])
    def test_nothing_to_share_or_nobody_to_share_with_is_refused(self, rows, devices):
        """The sentence tells both numbers."""
        message = f"^expected rows for at least one device, got {rows} rows and {devices} devices$"

        with pytest.raises(ValueError, match=message):
            share_sizes(rows, devices)


ROWS = torch.arange(6).reshape(3, 2)
LAST = torch.tensor([[4, 5]])

# What is split, and the second of its two shares.
FORMS = {
    "a tensor": (ROWS, LAST),
    "a tuple": ((ROWS, 7), (LAST, 7)),
    "a namedtuple": (Pair(ROWS, "x"), Pair(LAST, "x")),
    "a list": ([ROWS, ROWS], [LAST, LAST]),
    "a dict": ({"b": ROWS, "a": None}, {"b": LAST, "a": None}),
    "an OrderedDict": (OrderedDict(b=ROWS, a=1.5), OrderedDict(b=LAST, a=1.5)),
    "a defaultdict": (defaultdict(list, b=ROWS), defaultdict(list, b=LAST)),
    "a Counter": ((ROWS, Counter(a=3)), (LAST, Counter(a=3))),
    "a torch.Size": ((ROWS, torch.Size([9, 8, 7])), (LAST, torch.Size([9, 8, 7]))),
    "one in the other": (
        [{"p": Pair((ROWS,), OrderedDict(q=[ROWS]))}, (), {}, []],
        [{"p": Pair((LAST,), OrderedDict(q=[LAST]))}, (), {}, []],
    ),
}

FORMS_WITHOUT_TENSORS = {"None": None, "a number": 3, "a string": "xyz", "a tuple": (1, "y"), "nothing": ()}

WITHOUT_THE_AXIS = {
    "a number has no first axis": ((), 0),
    "a number has no last axis": ((), -1),
    "a vector has no second axis": ((3,), 1),
    "a matrix has no third-last axis": ((3, 4), -3),
}

NOT_ALIKE = {
    "3 and 4 shares": ([5, 4], 4, "4 and 5 rows for 4 devices"),
    "1 and 2 shares": ([2, 1], 2, "1 and 2 rows for 2 devices"),
    "three numbers of rows, one of them of two tensors": (
        [8, 2, 4, 8],
        4,
        "2 and 4 and 8 rows for 4 devices",
    ),
    "none and few": ([0, 1], 2, "0 and 1 rows for 2 devices"),
}


@st.composite
def batches(draw):
    """Draw a nested batch, and its number of rows: tensors of 0 to 2 more axes, numbers, strings and None."""
    rows = draw(st.integers(0, 9))
    shapes = st.lists(st.integers(0, 3), max_size=2)
    tensors = shapes.map(lambda rest: torch.randn(rows, *rest))
    inner = st.recursive(
        tensors | st.sampled_from([None, 3, "x"]),
        lambda part: (
            st.lists(part, max_size=3)
            | st.lists(part, max_size=3).map(tuple)
            | st.tuples(part, part).map(lambda pair: Pair(*pair))
            | st.dictionaries(st.sampled_from("abc"), part)
            | st.dictionaries(st.sampled_from("abc"), part).map(OrderedDict)
        ),
        max_leaves=6,
    )
    return (draw(tensors), draw(inner)), rows


class TestSplit:
    """A batch in shares."""

    def test_rows_go_to_the_devices_in_order(self):
        """The first device gets the first rows, and the last what is left."""
        shares = split(torch.arange(5), ["cpu"] * 3)

        assert [share.tolist() for share in shares] == [[0, 1], [2, 3], [4]]

    @pytest.mark.parametrize(("batch", "second"), FORMS.values(), ids=FORMS)
    def test_forms_keep_their_types_and_what_is_no_tensor(self, batch, second):
        """Each share has the form of the batch: tuples, lists and dicts, however deep."""
        shares = split(batch, ["cpu"] * 2)

        assert len(shares) == 2
        assert written_out(shares[1]) == written_out(second)

    @settings(max_examples=60)
    @given(case=batches(), devices=st.integers(1, 5))
    def test_shares_joined_are_the_batch(self, case, devices):
        """Tensor by tensor the shares in a row are the batch; the rest is in each share, the same object."""
        batch, rows = case

        shares = [leaves(share) for share in split(batch, ["cpu"] * devices)]

        assert len(shares) == len(share_sizes(rows, devices))
        assert all(list(share) == list(leaves(batch)) for share in shares)
        for path, leaf in leaves(batch).items():
            parts = [share[path] for share in shares]
            if isinstance(leaf, torch.Tensor):
                assert [len(part) for part in parts] == share_sizes(rows, devices)
                assert torch.equal(torch.cat(parts), leaf)
            else:
                assert all(part is leaf for part in parts)

    @pytest.mark.parametrize("batch", FORMS_WITHOUT_TENSORS.values(), ids=FORMS_WITHOUT_TENSORS)
    def test_batch_without_tensors_goes_to_every_device(self, batch):
        """What is no tensor has no rows, and every device gets it."""
        assert split(batch, ["cpu"] * 3) == [batch] * 3

    def test_what_is_no_tensor_is_the_same_object_in_every_share(self):
        """Nothing is copied but the forms that may hold tensors."""
        thing = object()

        assert [share["thing"] is thing for share in split({"thing": thing}, ["cpu"] * 2)] == [True, True]

    def test_devices_get_nothing_when_the_rows_run_out(self):
        """Two rows make two shares, for five devices too."""
        assert [share.tolist() for share in split(torch.arange(2), ["cpu"] * 5)] == [[0], [1]]

    def test_batch_without_rows_is_an_empty_share_for_each(self):
        """The other axes stay as they are."""
        assert [share.shape for share in split(torch.empty(0, 3), ["cpu"] * 2)] == [(0, 3), (0, 3)]

    @pytest.mark.parametrize("dim", [1, -1])
    def test_any_axis_can_be_split(self, dim):
        """Axis 1 of a matrix is its last, and is split as the rows are."""
        first, second = split(ROWS.T, ["cpu"] * 2, dim=dim)

        assert first.tolist() == [[0, 2], [1, 3]]
        assert second.tolist() == [[4], [5]]

    def test_negative_axis_counts_from_the_end_of_each_tensor(self):
        """Axis -1 of a vector and of a box are both their last."""
        shares = split((torch.zeros(3), torch.zeros(5, 4, 3)), ["cpu"] * 2, dim=-1)

        assert [tuple(part.shape for part in share) for share in shares] == [
            ((2,), (5, 4, 2)),
            ((1,), (5, 4, 1)),
        ]

    def test_numbers_of_rows_may_differ_while_the_numbers_of_shares_do_not(self):
        """4 and 10 rows are four shares each, of a row and of three; each tensor is shared by itself."""
        shares = split((torch.arange(4), torch.arange(10)), ["cpu"] * 4)

        assert [(few.tolist(), many.tolist()) for few, many in shares] == [
            ([0], [0, 1, 2]),
            ([1], [3, 4, 5]),
            ([2], [6, 7, 8]),
            ([3], [9]),
        ]

    @pytest.mark.parametrize(("rows", "devices", "message"), NOT_ALIKE.values(), ids=NOT_ALIKE)
    def test_tensors_that_make_other_numbers_of_shares_are_refused(self, rows, devices, message):
        """The sentence tells each number of rows once, in order."""
        batch = [torch.zeros(count) for count in rows]

        with pytest.raises(
            ValueError, match=f"^expected tensors that make the same number of shares, got {message}$"
        ):
            split({"inner": batch}, ["cpu"] * devices)

    @pytest.mark.parametrize(("shape", "dim"), WITHOUT_THE_AXIS.values(), ids=WITHOUT_THE_AXIS)
    def test_tensor_without_the_axis_is_refused(self, shape, dim):
        """The sentence tells the axis, the shape, and the way out."""
        message = (
            f"^expected tensors with an axis {dim} to split along, got the shape {escape(str(shape))}; "
            "what every device needs whole can be a number, or a buffer of the net$"
        )

        with pytest.raises(ValueError, match=message):
            split([torch.zeros(2, 2, 2), torch.zeros(shape)], ["cpu"], dim=dim)

    @pytest.mark.parametrize("batch", [torch.zeros(3), None], ids=["a tensor", "None"])
    def test_no_devices_are_refused(self, batch):
        """The sentence says so, whatever the batch."""
        with pytest.raises(ValueError, match=r"^expected at least one device, got none$"):
            split(batch, [])

    def test_each_share_is_moved_to_its_device(self):
        """A share lies on its device, at whatever depth; the batch stays where it was."""
        batch = {"inner": [torch.arange(6), 7]}

        shares = split(batch, ["cpu", torch.device("meta"), "cpu"])

        assert [share["inner"][0].device.type for share in shares] == ["cpu", "meta", "cpu"]
        assert batch["inner"][0].device.type == "cpu"


ONE, TWO = torch.tensor([[1.0]]), torch.tensor([[2.0], [3.0]])
BOTH = torch.tensor([[1.0], [2.0], [3.0]])

# The outputs of the shares, and the two as one.
OUTPUTS = {
    "tensors": (ONE, TWO, BOTH),
    "numbers": (torch.tensor(1.0), torch.tensor(2.0), torch.tensor([1.0, 2.0])),
    "tuples": ((ONE, ONE), (TWO, TWO), (BOTH, BOTH)),
    "namedtuples": (Pair(ONE, None), Pair(TWO, None), Pair(BOTH, None)),
    "what max() gives": (ONE.max(1), TWO.max(1), BOTH.max(1)),
    "lists": ([ONE], [TWO], [BOTH]),
    "dicts": ({"b": ONE, "a": TWO}, {"a": ONE, "b": TWO}, {"b": BOTH, "a": torch.cat([TWO, ONE])}),
    "OrderedDicts": (OrderedDict(b=ONE), OrderedDict(b=TWO), OrderedDict(b=BOTH)),
    "one in the other": (
        {"x": ([Pair(ONE, ())], None)},
        {"x": ([Pair(TWO, ())], None)},
        {"x": ([Pair(BOTH, ())], None)},
    ),
    "None": (None, None, None),
}

MIXED = {
    "numbers of Python": ([1.5, 2.5], "float"),
    "strings within": ([(ONE, "x"), (TWO, "x")], "str"),
    "a tensor and a number": ([ONE, 2], "Tensor and int"),
    "a tensor and None": ([None, ONE], "NoneType and Tensor"),
    "a list and a tuple": ([(ONE,), [TWO]], "list and tuple"),
    "a tuple and a namedtuple": ([(ONE, ONE), Pair(TWO, TWO)], "Pair and tuple"),
    "the third alone": ([(ONE,), (TWO,), [TWO]], "list and tuple"),
    "tuples of other lengths": ([(ONE, ONE), (TWO,)], "tuple"),
    "lists of other lengths": ([[ONE], [TWO, TWO]], "list"),
    "dicts with other keys": ([{"a": ONE}, {"b": TWO}], "dict"),
    "dicts with more keys": ([{"a": ONE}, {"a": TWO, "b": TWO}], "dict"),
    "dicts with fewer keys": ([{"a": ONE, "b": TWO}, {"a": TWO}], "dict"),
}


class TestGather:
    """Outputs put together."""

    @pytest.mark.parametrize(("first", "second", "both"), OUTPUTS.values(), ids=OUTPUTS)
    def test_outputs_of_one_form_become_one_of_that_form(self, first, second, both):
        """Tensors are joined row after row, numbers become a vector, and None stays None."""
        assert written_out(gather([first, second], "cpu")) == written_out(both)

    def test_outputs_of_one_share_are_as_they_would_be_of_several(self):
        """A number becomes a vector of one, and a tensor stays as it is."""
        assert written_out(gather([(torch.tensor(3.0), TWO)], "cpu")) == written_out(
            (torch.tensor([3.0]), TWO)
        )

    @pytest.mark.parametrize("dim", [1, -1])
    def test_tensors_can_be_joined_along_another_axis(self, dim):
        """Numbers become a vector all the same."""
        joined = gather([(ONE.T, torch.tensor(1)), (TWO.T, torch.tensor(2))], "cpu", dim=dim)

        assert written_out(joined) == written_out((BOTH.T, torch.tensor([1, 2])))

    def test_outputs_are_put_together_on_the_device_named(self):
        """Tensors from several devices meet on one of them, numbers as well."""
        outputs = [(ONE, torch.tensor(1.0)), (TWO.to("meta"), torch.tensor(2.0, device="meta"))]

        joined, numbers = gather(outputs, "meta")

        assert (joined.device.type, joined.shape) == ("meta", (3, 1))
        assert (numbers.device.type, numbers.shape) == ("meta", (2,))

    @pytest.mark.parametrize(("outputs", "kinds"), MIXED.values(), ids=MIXED)
    def test_outputs_of_something_else_or_of_several_forms_are_refused(self, outputs, kinds):
        """The sentence tells the types that met, each once and in alphabetical order."""
        message = f"^expected outputs of tensors, in tuples, lists and dicts of one form, got {kinds}$"

        with pytest.raises(TypeError, match=message):
            gather(outputs, "cpu")
