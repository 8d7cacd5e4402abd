from annotation.templatetags.prose import prose


def test_a_short_line_alone_is_a_heading_and_all_else_a_paragraph():
    html = prose("Purpose\n\nWe ask what helps.\n\nShort, but a sentence.\r\n\r\nContact\n\nwrite to us:")
    assert html.splitlines() == [
        "<h2>Purpose</h2>",
        "<p>We ask what helps.</p>",
        "<p>Short, but a sentence.</p>",
        "<h2>Contact</h2>",
        "<p>write to us:</p>",
    ]


def test_markup_in_the_text_is_shown_not_obeyed():
    assert prose("<b>Bold</b> claims.") == "<p>&lt;b&gt;Bold&lt;/b&gt; claims.</p>"
