"""Reading a page back: its elements and attributes, and what would reach out of it."""

from html.parser import HTMLParser

VOID = {"meta", "img", "wbr", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """Every start tag with its attributes, and the text outside style sheets."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.text, self.open = [], "", []
        self.feed(source)
        self.close()
        assert self.open == [], f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def assert_self_contained(source, scripts=0):
    """No script but so many inside of the page, no handler, no address outside the file; style sheets import nothing."""
    page = Page(source)
    assert page.all("script") == [{}] * scripts
    assert not page.all("link") + page.all("iframe") + page.all("object")
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in ("href", "src", "action", "xlink:href", "srcset", "data"):
                assert value.startswith(("#", "data:image/svg+xml;base64,")), (tag, name, value)
    assert "@import" not in source
    assert "url(" not in source.replace("url(#", "")  # a clip of a chart is in the page itself
    assert source.count("http") == source.count("http-equiv") + source.count('xmlns="http://www.w3.org/2000/svg"')
    return page
