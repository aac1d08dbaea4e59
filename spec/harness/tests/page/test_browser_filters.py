"""Which statements the page shows: by its four filters, by what is searched for, by a link to one of them."""

import pytest

from spec.harness.tests.page.runs import STATEMENTS, expected

pytestmark = pytest.mark.slow  # starts Chromium
LABELS = {"section": "Section", "verdict": "Verdict", "outcome": "Outcome", "needs": "Needs"}
ALONE = [
    *({"section": section} for section in sorted({row[0] for row in STATEMENTS.values()})),
    *({"verdict": verdict} for verdict in ("holds", "qualified", "outdated", "wrong", "answered")),
    *({"outcome": name} for name in ("confirmed", "refuted", "not checked", "error", "timeout", "crashed")),
    *({"needs": need} for need in ("an accelerator", "several GPUs", "CIFAR-10", "more time")),
]
TOGETHER = [
    {"section": section, "verdict": verdict, "outcome": outcome} | ({"needs": needs[-1]} if needs else {})
    for section, _, verdict, _, outcome, needs in STATEMENTS.values()
]
NONE_FITS = [{"section": "1 Tensor", "outcome": "crashed"}, {"verdict": "wrong", "needs": "more time"}]
SHOWN = """selector => [...document.querySelectorAll(selector)].filter(it => it.checkVisibility())
  .map(it => it.id || it.textContent)"""


def shown(page, selector="details[id]"):
    """Return the ids of what can be seen, in the order of the page."""
    return page.evaluate(SHOWN, selector)


def counted(found):
    """Return what the page says of so many statements."""
    return f"{len(found)} of {len(STATEMENTS)} statements shown" if found else "No statement fits."


def choose(page, **chosen):
    """Choose an option of some filters, and "all" of the others."""
    for name, label in LABELS.items():
        page.get_by_role("combobox", name=label, exact=True).select_option(label=chosen.get(name, "all"))


@pytest.fixture
def page(open_file, one_run):
    """The page of a single run, just opened."""
    return open_file(one_run)


class TestFilters:
    """The four lists, each for itself and together."""

    def test_every_statement_is_shown_at_first_and_each_list_offers_what_the_runs_hold(self, page):
        """In the order of the notes, and none is open. There is no choice with which nothing is shown."""
        assert shown(page) == list(STATEMENTS)
        assert shown(page, "details[id][open]") == []
        for name, label in LABELS.items():
            offered = page.get_by_role("combobox", name=label, exact=True).locator("option").all_inner_texts()
            assert sorted(offered) == sorted(["all", *(one[name] for one in ALONE if name in one)])

    @pytest.mark.parametrize("choices", [ALONE, TOGETHER, NONE_FITS], ids=["alone", "together", "none fits"])
    def test_what_fits_the_choice_is_shown_and_counted(self, page, choices):
        """What fits is known from the records, and so is how many there are."""
        for chosen in choices:
            choose(page, **chosen)

            fits = expected(**chosen)
            assert (chosen, shown(page)) == (chosen, fits)
            assert page.get_by_role("status").inner_text() == counted(fits)

    def test_tables_of_choices_are_worth_the_name(self):
        """Each choice alone shows some and hides some; together each shows at least its own statement."""
        assert all(0 < len(expected(**chosen)) < len(STATEMENTS) for chosen in ALONE + TOGETHER)
        assert not any(expected(**chosen) for chosen in NONE_FITS)

    def test_heading_without_a_statement_is_hidden(self, page):
        """So that what is left can be seen at once."""
        choose(page, section="1 Tensor", outcome="refuted")
        assert shown(page, "main h2, main h3") == ["Statements", "1 Tensor", "1.5 NumPy"]

        choose(page)
        assert len(shown(page, "main h3")) == len({row[1] for row in STATEMENTS.values()})

    def test_choice_holds_for_who_comes_back_to_the_page(self, page):
        """The browser keeps what was chosen; the statements go by it."""
        choose(page, verdict="wrong")
        page.goto("about:blank")
        page.go_back()

        assert page.get_by_role("combobox", name="Verdict").input_value() == "wrong"
        assert shown(page) == expected(verdict="wrong")


SEARCHES = {
    "an id": ("cifar.loss-item", ["cifar.loss-item"]),
    "a word of the sentence, in other case": ("1.3", ["tensor.dtype-and-device-attributes"]),
    "the name of a check": ("sgd groups is so", ["nn.sgd-groups"]),
    "words apart and out of order": ("UPDATE what says nn", ["nn.sgd-groups"]),
    "a fault": ("squeeze takes only the first axis", ["tensor.squeeze"]),
    "nothing that there is": ("no such words", []),
    "no more than blanks": ("   ", list(STATEMENTS)),
}


class TestSearch:
    """The box that is searched with."""

    @pytest.mark.parametrize(("words", "found"), SEARCHES.values(), ids=SEARCHES)
    def test_statements_with_all_words_are_shown(self, page, words, found):
        """Wherever the words stand in it."""
        page.get_by_label("Search").press_sequentially(words)
        page.get_by_label("Search").press("Enter")  # which does not leave the page

        assert "?" not in page.url
        assert shown(page) == found
        assert page.get_by_role("status").inner_text() == counted(found)

    def test_search_and_filters_narrow_each_other(self, page):
        """And what was typed can be taken back."""
        choose(page, verdict="holds")
        page.get_by_label("Search").fill("numpy shares is so")
        assert shown(page) == ["tensor.numpy-shares-memory"]
        choose(page, verdict="wrong")
        assert shown(page) == []

        page.get_by_label("Search").fill("")
        assert shown(page) == expected(verdict="wrong")


class TestLinks:
    """An address that ends with #id."""

    @pytest.mark.parametrize("id", ["tensor.squeeze", "derived.dqn-balances"])
    def test_address_of_a_statement_opens_it(self, open_file, one_run, id):
        """It alone, so that it can be seen, and with the focus, for whoever reads with the ears."""
        page = open_file(one_run, f"#{id}")

        assert shown(page, "details[open]") == [id]
        assert in_window(page, id)
        assert page.evaluate("document.activeElement.parentElement.id") == id

    def test_link_to_a_statement_that_a_filter_hides_shows_it(self, page):
        """The filters are taken back, as the lists and the count say."""
        choose(page, section="1 Tensor")
        page.get_by_label("Search").fill("squeeze")
        page.evaluate("location.hash = '#derived.dqn-balances'")

        page.locator("details[open]").wait_for()
        assert in_window(page, "derived.dqn-balances")
        assert shown(page) == list(STATEMENTS)
        assert page.get_by_role("combobox", name="Section").input_value() == ""
        assert page.get_by_role("status").inner_text().startswith(f"{len(STATEMENTS)} of ")

    def test_statement_names_its_own_address(self, page):
        """The address can be copied from the statement itself."""
        page.locator("#nn\\.sgd-groups > summary").click()
        page.get_by_role("link", name="#nn.sgd-groups").click()

        assert page.url.endswith("#nn.sgd-groups")

    @pytest.mark.parametrize("fragment", ["#no.such-statement", "#", "#%E0%A4%A"])
    def test_address_of_nothing_does_no_harm(self, open_file, one_run, fragment):
        """All statements are shown, and none is open."""
        page = open_file(one_run, fragment)

        assert shown(page) == list(STATEMENTS)
        assert shown(page, "details[open]") == []

    def test_every_link_leads_somewhere(self, open_file, two_runs):
        """To one thing each: no id is given twice."""
        page = open_file(two_runs)
        links = page.evaluate("[...document.links].map(it => it.hash.slice(1))")
        ids = page.evaluate("[...document.querySelectorAll('[id]')].map(it => it.id)")

        assert links
        assert set(links) <= set(ids)
        assert len(ids) == len(set(ids))


def in_window(page, id):
    """Tell whether the head of a statement can be seen without scrolling."""
    box = page.locator(f'[id="{id}"] > summary').bounding_box()
    return box["y"] >= 0 and box["y"] + box["height"] <= page.viewport_size["height"]


class TestSeveralRuns:
    """A page of an older and a newer run."""

    def test_statement_fits_an_outcome_of_any_run_and_shows_each(self, open_file, two_runs):
        """Whoever asks for what was refuted means everywhere.

        The older run comes first, also where it does not know the statement; what is alike is one outcome.
        """
        page = open_file(two_runs)

        for name, row in STATEMENTS.items():
            badges = page.locator(f'[id="{name}"] > summary .badge').all_inner_texts()
            outcomes = dict.fromkeys([row[3] or "absent", row[4]])
            assert [badge.lstrip("✓✗– ") for badge in badges] == list(outcomes)
        choose(page, outcome="refuted")
        assert shown(page) == ["tensor.numpy-shares-memory", "nn.sgd-groups"]

    def test_what_differs_stands_in_a_table(self, open_file, two_runs):
        """A row for each such statement, and a column for each run, the older one first."""
        page = open_file(two_runs)
        differs = {name: row[3:5] for name, row in STATEMENTS.items() if row[3] != row[4]}

        rows = [row.split("\t") for row in page.get_by_role("table").inner_text().splitlines()]

        assert rows[0] == ["Statement", "2.6.0", "2.15.0"]
        found = {name: tuple(cell.lstrip("✓✗– ") for cell in cells) for name, *cells in rows[1:]}
        assert found == {name: (old or "absent", new) for name, (old, new) in differs.items()}
