"""What a person meets in an open page: barriers, what is too wide, where Tab leads."""

from pathlib import Path

# all that axe knows, except for the highest level, AAA
LEVELS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice", "experimental"]
LEFT_OUT = {"hidden-content": {"enabled": False}}  # says only that something is hidden
TOO_WIDE = """() => {
  const edge = document.documentElement.clientWidth;
  const scrolls = it =>
    it && (/auto|scroll/.test(getComputedStyle(it).overflowX) || scrolls(it.parentElement));
  const wide = [...document.querySelectorAll("body *")].filter(
    it => it.checkVisibility() && !scrolls(it.parentElement) && it.getBoundingClientRect().right > edge + 1
  );
  const page = document.scrollingElement.scrollWidth > edge ? [document.scrollingElement] : [];
  return [...page, ...wide].map(it => it.outerHTML.slice(0, 120));
}"""
FOCUSED = """() => {
  const it = document.activeElement;
  if (!it || it === document.body) return null;
  const { left, top, width, height } = it.getBoundingClientRect();
  const over = document.elementFromPoint(left + width / 2, top + height / 2);
  return {
    // a screenshot leaves an empty style behind
    html: it.outerHTML.replace(/\\s+/g, " ").replace(' style=""', "").slice(0, 120),
    id: it.id, tag: it.localName,
    covered: !it.contains(over),
    clip: { x: Math.max(left - 6, 0), y: Math.max(top - 6, 0), width: width + 12, height: height + 12 },
  };
}"""


def barriers(page):
    """Return what axe finds: rule, place and reason of each violation, and of what it leaves open."""
    import axe_playwright_python

    page.evaluate(Path(axe_playwright_python.__path__[0], "axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("options => axe.run(options)", {"runOnly": LEVELS, "rules": LEFT_OUT})
    return [
        f"{rule['id']}: {' '.join(node['target'])}: {node['failureSummary']}"
        for rule in found["violations"] + found["incomplete"]
        for node in rule["nodes"]
        if not _is_a_mark(node)
    ]


def _is_a_mark(node):
    """Tell whether axe leaves a contrast open for no other reason than that ✓ is no letter."""
    contrasts = [check["data"]["messageKey"] for check in node["any"] if check["id"] == "color-contrast"]
    return contrasts == ["nonBmp"]


def too_wide(page):
    """Return what reaches beyond the right edge, unless something around it scrolls by itself."""
    return page.evaluate(TOO_WIDE)


def tab_stops(page, limit=200):
    """Return what Tab leads to, in order, from the top of the page until it leaves it."""
    stops = []
    while len(stops) < limit:
        page.keyboard.press("Tab")
        focused = page.evaluate(FOCUSED)
        if focused is None:
            return stops
        stops.append(focused | {"shown": _shows(page, focused["clip"])})
    raise AssertionError(f"Tab still stays in the page after {limit} stops")


def _shows(page, clip):
    """Tell whether what is focused looks otherwise than it does without the focus."""
    focused = page.screenshot(clip=clip)
    page.evaluate("document.activeElement.blur()")  # Tab goes on from there all the same
    return page.screenshot(clip=clip) != focused
