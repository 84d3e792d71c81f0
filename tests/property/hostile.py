"""What a stranger does to a file's bytes."""

from hypothesis import strategies as st


@st.composite
def damaged(draw, content):
    """Draw bytes that were `content` before something was cut, flipped, doubled, inserted or joined by other encodings."""
    content = bytearray(content)
    for kind in draw(st.lists(st.sampled_from(["cut", "flip", "insert", "double", "drop"]), min_size=1, max_size=4)):
        at = draw(st.integers(0, len(content)))
        if kind == "cut":
            del content[at:]
        elif kind == "flip" and at < len(content):
            content[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "insert":
            content[at:at] = draw(st.one_of(st.binary(max_size=8), st.sampled_from(PIECES)))
        elif kind == "double":
            content += content[at:]
        elif kind == "drop":
            del content[at : at + draw(st.integers(1, 9))]
    return bytes(content)


PIECES = [b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\n", b"\r", b'"', b"\\", b"\xed\xa0\x80", b"\\ud800", b"[" * 5000]
PIECES += [
    "größe".encode("latin-1"),
    "river".encode("utf-16"),
    b'{"text": 1}\n',
    b"1" * 5000,
    b"NaN",
    b"}",
    b",",
    b"\t",
]
