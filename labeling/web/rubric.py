"""A rubric's Markdown as HTML: no raw HTML, no images, no links to elsewhere."""

from markdown_it import MarkdownIt
from markupsafe import Markup


def to_html(markdown: str) -> Markup:
    """Headings, lists, tables, emphasis; everything else as the text it is."""
    parser = (
        MarkdownIt("commonmark", {"html": False}).enable("table").disable(["image", "link", "autolink", "reference"])
    )
    return Markup(parser.render(markdown))  # noqa: S704 - raw HTML is off, and text is escaped by the renderer
