#!/usr/bin/env python3
"""Writes python_json.jsonl: random documents and what CPython's json module makes of them.

    python3 python_json.py > python_json.jsonl

A line is {"body": base64, "canonical": text, "compact": text}, or {"body": base64} where json.loads refuses the bytes.
"""
import base64
import json
import random
import struct

RANDOM = random.Random(20261120)
ALPHABET = ["a", "B", "0", " ", '"', "\\", "/", "\b", "\f", "\n", "\r", "\t", "\x00", "\x1f", "\x7f", "\x80", "é", "ß", "漢",
            "\u2028", "\ufeff", "\uffff", "\ud800", "\udbff", "\udc00", "\udfff", "😀", "\U0010ffff"]


def text():
    if RANDOM.random() < 0.4:
        return RANDOM.choice(["model", "stream", "messages", "role", "content", "", "a", "b", "plain text of more than eight bytes"])
    return "".join(RANDOM.choices(ALPHABET, k=RANDOM.randrange(12)))


def number():
    kind = RANDOM.randrange(6)
    if kind == 0:
        return RANDOM.randrange(-100, 100)
    if kind == 1:
        return RANDOM.randrange(-(10 ** 30), 10 ** 30)
    if kind == 2:
        return RANDOM.choice([0.0, -0.0, 1e15, 1e16, 9.999999999999999e15, 1e-4, 1e-5, 1.5e300, 5e-324, float("inf"), float("-inf"), float("nan"),
                              2.0 ** 63, 2.0 ** 53 + 2, 1 / 3, 123456.789])
    if kind == 3:
        return struct.unpack("<d", RANDOM.randbytes(8))[0]
    if kind == 4:
        return RANDOM.choice([2 ** 63 - 1, -(2 ** 63), 2 ** 63, 2 ** 64, -0])
    return round(RANDOM.uniform(-1000, 1000), RANDOM.randrange(8))


def value(depth=0):
    kind = RANDOM.random()
    if depth < 3 and kind < 0.25:
        return {text(): value(depth + 1) for _ in range(RANDOM.randrange(4))}
    if depth < 3 and kind < 0.4:
        return [value(depth + 1) for _ in range(RANDOM.randrange(5))]
    if kind < 0.7:
        return text()
    return RANDOM.choice([None, True, False]) if kind < 0.75 else number()


def string_token(content):
    """The string with a random choice of escapes."""
    token = '"'
    for character in content:
        plain = character >= " " and character not in '"\\'
        if plain and RANDOM.random() < 0.6:
            token += character
        else:
            escaped = json.dumps(character)[1:-1]
            token += escaped.upper().replace("\\U", "\\u") if escaped.startswith("\\u") and RANDOM.random() < 0.5 else escaped
    return token + '"'


def write(item):
    """A document as some writer may print it: spaces, repeated names, floats in other spellings."""
    space = lambda: RANDOM.choice(["", "", "", " ", "\n\t", "\r\n"])
    if isinstance(item, dict):
        members = list(item.items())
        members += [(name, value(4)) for name, _ in members if RANDOM.random() < 0.1]
        return "{" + ",".join(space() + string_token(name) + space() + ":" + space() + write(member) + space() for name, member in members) + "}"
    if isinstance(item, list):
        return "[" + ",".join(space() + write(member) + space() for member in item) + "]"
    if isinstance(item, str):
        return string_token(item)
    if isinstance(item, float) and item == item and abs(item) != float("inf"):
        return RANDOM.choice([repr(item), "%.17e" % item, "%.20E" % item])
    return json.dumps(item)


def damage(body):
    """Bytes that are near JSON."""
    body = bytearray(body)
    for _ in range(RANDOM.randrange(1, 3)):
        place = RANDOM.randrange(len(body)) if body else 0
        change = RANDOM.randrange(3)
        if change == 0:
            del body[place:place + 1]
        elif change == 1:
            body[place:place] = RANDOM.choice([b",", b"}", b"]", b'"', b"\\", b"0", b".", b"e", b"-", b"\x01", b"\xff", b"\xed\xa0\x80", b"\x00", b":", b" "])
        else:
            body = body[:place]
    return bytes(body)


def show(body):
    line = {"body": base64.b64encode(body).decode()}
    try:
        document = json.loads(body)
        line["canonical"] = json.dumps(document, sort_keys=True)
        line["compact"] = json.dumps(document, separators=(",", ":"))
    except (ValueError, RecursionError):
        pass
    print(json.dumps(line))


ENCODINGS = ["utf-8"] * 8 + ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
for _ in range(170):
    document = value() if RANDOM.random() < 0.3 else {text(): value(1) for _ in range(RANDOM.randrange(1, 7))}
    body = write(document).encode(RANDOM.choice(ENCODINGS), "surrogatepass")
    show(body)
    if RANDOM.random() < 0.8:
        show(damage(body))
many = ",".join(f'"{RANDOM.randrange(30)}": {index}' for index in range(40))
show(("{" + many + "}").encode())
for body in [b"", b" ", b"\xef\xbb\xbf", b"\xff\xfe", b"0\x00", b"01", b"-", b"-0", b"1.", b".5", b"1e", b"1e+", b"+1", b"-Inf", b"-Infinity", b"nan", b'"\x7f"',
             b'"\t"', b'"\\ud800\\u"', b'"\\ud800\\u0041"', b'"\\u00g0"', b'"\\u+123"', b'"\\x41"', b'"\xc0\x80"', b'"\xf4\x90\x80\x80"', b'"\xed\xa0\xbd\xed\xb8\x80"',
             b'{"a":1,}', b"[1,]", b"{1:2}", b"[1 2]", b"truefalse", b"true ", b"\x0ctrue", b"1" * 4300, b"1" * 4301, b"1e99999",
             b"\xef\xbb\xbf\xef\xbb\xbf1", b"\xfe\xff\x001", b"\xfe\xff\x00", b"\x00\x00\xfe\xff\x00\x11\x00\x00"]:
    show(body)
