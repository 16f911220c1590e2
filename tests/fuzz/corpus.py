"""Hostile requests collected by hand, each with a name and its bytes."""

from __future__ import annotations

from urllib.parse import quote, quote_from_bytes

from tests.agent_process import PREFIX
from tests.conformance.test_body import NOT_A_NUMBER, NOT_JSON, NOT_UTF_8, TWICE
from tests.conformance.test_errors import UNKNOWN_KINDS
from tests.fuzz.harmless import ANYTHING
from tests.fuzz.wire import Wire

KIND = ANYTHING.encode()

FRAGMENTS: dict[str, bytes] = {
    "400 digits": b"9" * 400,
    "minus 400 digits": b"-" + b"9" * 400,
    "4,300 digits": b"9" * 4300,
    "4,301 digits": b"9" * 4301,
    "5,000 digits": b"1" * 5000,
    "5,000 digits behind the point": b"0." + b"1" * 5000,
    "more than a float": b"1e999",
    "less than a float": b"-1e999",
    "nearly nothing": b"1e-999",
    "an exponent of 5,000 digits": b"1e" + b"9" * 5000,
    "minus nothing": b"-0.0",
    "minus zero": b"-0",
    "2**63": b"9223372036854775808",
    "2**64": b"18446744073709551616",
    "NaN": b"NaN",
    "infinity": b"-Infinity",
    "half a pair": b'"\\ud800"',
    "the other half": b'"\\udc00"',
    "the halves the wrong way round": b'"\\udc00\\ud800"',
    "half a pair as a name": b'{"\\ud800": 1}',
    "a pair": b'"\\ud83d\\udc18"',
    "nul": b'"\\u0000"',
    "nul as a name": b'{"\\u0000": 1}',
    "a line end": b'"\\r\\nX-Injected: 1\\r\\n\\r\\n"',
    "a member twice": b'{"a": 1, "a": 2}',
    "a member twice, written differently": b'{"a": 1, "\\u0061": 2}',
    "a name that is empty": b'{"": 1}',
    "a name of 10,000 characters": b'{"' + b"x" * 10_000 + b'": 1}',
    "100,000 characters": b'"' + b"x" * 100_000 + b'"',
    "63 levels": b"[" * 62 + b"]" * 62,
    "100 levels": b"[" * 100 + b"]" * 100,
    "50,000 levels": b"[" * 50_000 + b"]" * 50_000,
    "levels that do not end": b'{"a":' * 30_000,
    "brackets in a text": b'"' + b"[{" * 20_000 + b'"',
    "20,000 members": b"{" + b",".join(b'"%d":0' % each for each in range(20_000)) + b"}",
    "what a class is called": b'{"__class__": {"__init__": {"__globals__": 1}}, "__proto__": 1}',
    "a command": b'"; rm -rf / #$(reboot)`reboot`"',
    "a statement": b'"\'); DROP TABLE actions; --"',
    "true": b"true",
    "null": b"null",
}

PADDED = b'{"command": "replicante.test.ping", "count": 1}'
ENCODINGS: dict[str, bytes] = {
    f"{encoding}{' with a mark' if mark else ''}": (mark + PADDED.decode()).encode(encoding)
    for encoding in ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be", "utf-7")
    for mark in ("", "\ufeff")
} | {"a mark before it": b"\xef\xbb\xbf", "two marks": b"\xef\xbb\xbf" * 2 + PADDED}

CONTENT_TYPES = [
    b"",
    b";",
    b"application/json;charset=utf-16",
    b"application/json; charset=\xff",
    b"application/json, text/plain",
    b"application/json\x00",
    b"application/x-www-form-urlencoded; charset=utf-32",
    b"multipart/form-data",
    b"multipart/form-data; boundary=" + b"x" * 5000,
    b"x" * 7000,
    "application/jsön".encode(),
]

FORMS: dict[str, bytes] = {
    "nothing": b"",
    "no value": b"command",
    "a broken escape": b"command=" + KIND + b"&a=%zz&b=%",
    "no utf-8": b"command=" + KIND + b"&a=%ff%fe",
    "bytes as they are": b"command=" + KIND + b"&a=\xff\x00",
    "half a pair": b"command=" + KIND + b"&a=%ed%a0%80",
    "nul": b"command=" + KIND + b"&a=%00",
    "a line end": b"command=" + KIND + b"&a=%0d%0aX-Injected:%201",
    "two commands": b"command=" + KIND + b"&command=" + KIND,
    "5,000 fields": b"command=" + KIND + b"&a=1" * 5000,
    "5,000 digits": b"command=replicante.test.ping&count=" + b"9" * 5000,
    "digits of another script": b"command=replicante.test.ping&count=" + quote("١٢").encode(),
    "no number": b"command=replicante.test.loop&delay=nan&target=1e400",
    "infinity": b"command=replicante.test.loop&delay=inf",
    "a reference that is no text": b"command=" + KIND + b"&user_reference=%00%ed%b0%80",
    "a reference too long": b"command=" + KIND + b"&user_reference=" + b"x" * 10_000,
}

SEGMENTS: dict[str, bytes] = {
    "two dots": b"..",
    "a way out": b"../../../../../etc/passwd",
    "a way out, escaped": b"%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "a way out, escaped twice": b"%252e%252e%252f",
    "a slash": b"/",
    "a slash, escaped": b"%2f",
    "a slash, overlong": b"%c0%af",
    "backslashes": b"..\\..\\",
    "nul": b"%00",
    "nul behind the kind": KIND + b"%00",
    "nul as it is": b"a\x00b",
    "a line end": b"%0d%0aX-Injected:%201%0d%0a%0d%0a",
    "a line end behind the kind": KIND + b"%0d%0a",
    "a lone line feed": b"a%0ab",
    "a bare carriage return": b"a\rb",
    "a bare line feed": b"a\nb",
    "a tab": b"a\tb",
    "a blank": b"a b",
    "10,000 characters": b"x" * 10_000,
    "3,000 escapes": b"%41" * 1300,
    "no utf-8": b"%ff%fe",
    "bytes as they are": b"\xff\xfe",
    "utf-8 as it is": "ключ🐘".encode(),
    "half a pair": b"%ed%a0%80",
    "a broken escape": b"%",
    "half an escape": b"%4",
    "no escape": b"%zz",
    "a format": b"%s%n{0}{request}",
    "a question": b"?",
    "a fragment": b"#x",
    "parameters": b";x=1",
    "a colon": b"http://elsewhere/",
    "a star": b"*",
    "a statement": b"'%20OR%201=1%20--",
    "a template": b"{{7*7}}",
    "400 digits": b"9" * 400,
    "4,000 digits": b"1" * 4000,
    "2**63": b"9223372036854775808",
    "minus one": b"-1",
    "plus one": b"+1",
    "digits of another script": quote("٢").encode(),
    "hexadecimal": b"0x1",
    "a suffix twice": b"1.json.json",
}

QUERIES: dict[str, bytes] = {
    "400 digits": b"page=" + b"9" * 400,
    "3,000 digits": b"per_page=" + b"9" * 3000,
    "nothing": b"page=&per_page=&user_reference=",
    "no number": b"page=nan",
    "infinity": b"page=1e999",
    "minus one": b"page=-1",
    "none": b"per_page=0",
    "the last page": b"page=1099511627776&per_page=100",
    "nul": b"user_reference=%00",
    "no utf-8": b"user_reference=%ff&page=%ff",
    "half a pair": b"user_reference=%ed%a0%80",
    "bytes as they are": b"user_reference=\xff",
    "a line end": b"user_reference=%0d%0aX-Injected:%201",
    "twice": b"page=1&page=2",
    "1,000 times": b"&".join([b"page=1"] * 600),
    "a list": b"page[]=1&page[a]=1",
    "separators": b"&&&===;;;",
    "a broken escape": b"page=%",
}

HEADERS: dict[str, bytes] = {
    "a key twice": b"Idempotency-Key: twice-1\r\nIdempotency-Key: twice-2\r\n",
    "an empty key": b"Idempotency-Key:\r\n",
    "a blank key": b"Idempotency-Key: \t \r\n",
    "a key of 256 characters": b"Idempotency-Key: " + b"x" * 256 + b"\r\n",
    "a latin-1 key": b"Idempotency-Key: \xe9\xff\r\n",
    "a utf-8 key": "Idempotency-Key: ключ\r\n".encode(),
    "an empty sender": b"From: <>@\r\n",
    "a latin-1 sender": b"From: \xe9@example.com\r\n",
    "a sender of 7,000 characters": b"From: " + b"a" * 3500 + b"@" + b"b" * 3500 + b"\r\n",
    "an odd value": b"X-Odd: \xff\xfe \x80\t'\"\\ {}\r\n",
    "a value of 8,000 characters": b"X-Long: " + b"x" * 8000 + b"\r\n",
    "a value of 9,000 characters": b"X-Long: " + b"x" * 9000 + b"\r\n",
    "a value of 100,000 characters": b"X-Long: " + b"x" * 100_000 + b"\r\n",
    "ninety headers": b"".join(b"X-%d: 1\r\n" % each for each in range(90)),
    "two hundred headers": b"".join(b"X-%d: 1\r\n" % each for each in range(200)),
    "one header ninety times": b"X-Same: 1\r\n" * 90,
    "nul in a value": b"X-Odd: a\x00b\r\n",
    "a bare carriage return in a value": b"X-Odd: a\rb\r\n",
    "a bare line feed in a value": b"X-Odd: a\nX-Smuggled: b\r\n",
    "a folded value": b"X-Odd: a\r\n b\r\n",
    "a blank before the colon": b"X-Odd : a\r\n",
    "a blank before the name": b" X-Odd: a\r\n",
    "no colon": b"X-Odd\r\n",
    "no name": b": a\r\n",
    "a name with an underscore": b"X_Odd: a\r\nIdempotency_Key: underscored\r\n",
    "a name of bytes": b"X-\xff: a\r\n",
    "a name in brackets": b"(X): a\r\n",
    "two hosts": b"Host: elsewhere\r\n",
    "an expectation": b"Expect: 100-continue\r\n",
    "another expectation": b"Expect: the-unexpected\r\n",
    "an upgrade": b"Connection: upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n",
    "a proxy's word": b"X-Forwarded-For: \xff\r\nX-Forwarded-Proto: https\r\nForwarded: for=x\r\n",
    "another script": b"SCRIPT_NAME: /x\r\nScript-Name: /x\r\nPath-Info: /y\r\n",
    "another method": b"X-HTTP-Method-Override: DELETE\r\n",
    "a range": b"Range: bytes=0-0\r\nIf-Range: x\r\n",
    "a wait without end": b"Prefer: wait=" + b"9" * 5000 + b"\r\nIf-None-Match: *\r\n",
    "tags without end": b'If-None-Match: "' + b'","' * 2500 + b"\r\n",
    "a date that is none": b"If-Modified-Since: \xff\r\nIf-Unmodified-Since: 9999\r\n",
    "cookies": b"Cookie: " + b"=;" * 3000 + b"\r\n",
    "credentials that are none": b"Authorization: Basic \xff\xff\r\nProxy-Authorization: x\r\n",
    "a language": b"Accept: */*;q=nan\r\nAccept-Charset: \xff\r\nAccept-Encoding: br;q=-1\r\n",
}


def bodies(wire: Wire) -> dict[str, bytes]:
    """Requests with an invalid body."""
    found = {name: wire.post(body) for name, body in (NOT_JSON | NOT_UTF_8 | ENCODINGS).items()}
    found |= {f"no number: {body!r}": wire.post(body) for body in NOT_A_NUMBER}
    found |= {f"twice: {body!r}": wire.post(body) for body in TWICE}
    found |= {f"type {each[:40]!r}": wire.post(wire.body, each) for each in CONTENT_TYPES}
    found |= {f"all of it {name}": wire.post(each) for name, each in FRAGMENTS.items()}
    for name, each in FRAGMENTS.items():
        found |= {f"{member} {name}": wire.post(_with(member, each)) for member in MEMBERS}
    found |= {f"form: {name}": wire.post(each, b"application/x-www-form-urlencoded") for name, each in FORMS.items()}
    found["one byte too many"] = wire.post(wire.body.ljust(200_001))
    found["as many bytes as may be"] = wire.post(wire.body.ljust(200_000))
    return found


MEMBERS = ("command", "count", "anything", "user_reference")


def _with(member: str, value: bytes) -> bytes:
    members = {"command": b'"replicante.test.ping"' if member == "count" else b'"%s"' % KIND} | {member: value}
    return b"{" + b", ".join(b'"%s": %s' % (name.encode(), each) for name, each in members.items()) + b"}"


def addresses() -> dict[str, bytes]:
    """Requests to unknown paths."""
    before = {
        "GET": [f"{PREFIX}/info/", "/api/3/stacks/", "/api/3/stacks/default/actions/", f"{PREFIX}/", "/"],
        "POST": [f"{PREFIX}/schedule/", f"{PREFIX}/cancel/", "/api/3/stacks/"],
    }
    known = {name: quote_from_bytes(name.encode(), safe="").encode() for name in UNKNOWN_KINDS}
    found = {}
    for method, paths in before.items():
        for path in paths:
            for name, segment in (SEGMENTS | known).items():
                target = path.encode() + segment + (b"/actions" if path == "/api/3/stacks/" else b"")
                found[f"{method} {path} {name!r}"] = _request(method.encode(), target)
    for name, query in QUERIES.items():
        for path in ("/api/3/stacks/default/actions?", f"{PREFIX}/available?"):
            found[f"{path} {name}"] = _request(b"GET", path.encode() + query)
    return found


def _request(method: bytes, target: bytes) -> bytes:
    body = b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}" if method == b"POST" else b"\r\n"
    return b"%s %s HTTP/1.1\r\nHost: localhost\r\n%s" % (method, target, body)


def headers(wire: Wire) -> dict[str, bytes]:
    """Valid requests except for one header."""
    length = b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(wire.body)
    return {name: wire.head(length + lines) + wire.body for name, lines in HEADERS.items()}


def framings(wire: Wire) -> dict[str, bytes]:
    """Requests whose body has another length than declared, or an unusual declaration. None may be accepted."""
    body, size = wire.body, len(wire.body)
    json_type = b"Content-Type: application/json\r\n"
    chunked = wire.head(json_type + b"Transfer-Encoding: chunked\r\n")
    chunk = b"%x\r\n%s\r\n" % (size, body)

    def long(length: bytes) -> bytes:
        return wire.head(json_type + b"Content-Length: " + length + b"\r\n") + body

    def coded(*lines: bytes) -> bytes:
        return wire.head(json_type + b"".join(line + b"\r\n" for line in lines)) + chunk + b"0\r\n\r\n"

    return {
        "longer than it is": long(b"%d" % (size + 1)),
        "much longer than it is": long(b"100000"),
        "longer than may be": long(b"9" * 18),
        "400 digits long": long(b"9" * 400),
        "5,000 digits long": long(b"9" * 5000),
        "minus its length": long(b"-%d" % size),
        "plus its length": long(b"+%d" % size),
        "its length in hexadecimal": long(b"0x%x" % size),
        "its length with a fraction": long(b"%d.0" % size),
        "its length and a blank": long(b"%d 1" % size),
        "no length": long(b""),
        "a length in another script": long("٢".encode()),
        "a list of lengths": long(b"%d, %d" % (size, size + 1)),
        "two lengths": wire.head(json_type + b"Content-Length: %d\r\nContent-Length: 1\r\n" % size) + body,
        "nothing said": wire.head(json_type) + body,
        "chunks that do not end": chunked + chunk,
        "a last chunk that does not end": chunked + chunk + b"0\r\n",
        "a chunk that is cut off": chunked + b"ffff\r\n" + body,
        "a chunk longer than it is": chunked + b"%x\r\n%s\r\n0\r\n\r\n" % (size + 1, body),
        "a chunk shorter than it is": chunked + b"%x\r\n%s\r\n0\r\n\r\n" % (size - 1, body),
        "a chunk of no size": chunked + b"\r\n" + body,
        "a chunk of no number": chunked + b"zz\r\n" + body,
        "a chunk of less than nothing": chunked + b"-2\r\n" + body,
        "a chunk of 0x": chunked + b"0x%x\r\n%s\r\n0\r\n\r\n" % (size, body),
        "a chunk of 5,000 digits": chunked + b"f" * 5000 + b"\r\n" + body,
        "a chunk size without end": chunked + b"1" * 100_000,
        "a chunk too large": chunked + b"ffffffffffffffff\r\n" + body,
        "a chunk with an odd extension": chunked + b"%x;\r\x00=\r\n%s\r\n0\r\n\r\n" % (size, body),
        "lines that end in line feeds": chunked + (chunk + b"0\r\n\r\n").replace(b"\r\n", b"\n"),
        "an odd trailer": chunked + chunk + b"0\r\nX Odd\r\n\r\n",
        "a trailer of nul": chunked + chunk + b"0\r\nX: \x00\r\n\r\n",
        "chunks and a length": coded(b"Transfer-Encoding: chunked", b"Content-Length: %d" % size),
        "chunked twice": coded(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
        "chunked, then not": coded(b"Transfer-Encoding: chunked, identity"),
        "nearly chunked": coded(b"Transfer-Encoding: xchunked"),
        "compressed": coded(b"Transfer-Encoding: gzip"),
        "chunked in quotes": coded(b'Transfer-Encoding: "chunked"'),
        "chunked by nul": coded(b"Transfer-Encoding: chunked\x00"),
        "chunks of an old version": wire.head(json_type + b"Transfer-Encoding: chunked\r\n", b"HTTP/1.0") + chunk,
    }


def lines(wire: Wire) -> dict[str, bytes]:
    """Malformed request lines and headers."""
    target = wire.path.encode()
    return {
        "nothing": b"",
        "line ends": b"\r\n" * 1000,
        "nul": b"\x00" * 5000,
        "noise": bytes(range(256)) * 40,
        "another protocol": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 500,
        "a later version": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "the first version": b"GET %s\r\n" % target,
        "no version": b"GET %s \r\nHost: localhost\r\n\r\n" % target,
        "version 9": b"GET %s HTTP/9.9\r\nHost: localhost\r\n\r\n" % target,
        "version 1.9": b"GET %s HTTP/1.9\r\nHost: localhost\r\n\r\n" % target,
        "no number of a version": b"GET %s HTTP/x\r\nHost: localhost\r\n\r\n" % target,
        "no host": b"GET %s HTTP/1.1\r\n\r\n" % target,
        "a small method": b"get %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % target,
        "an odd method": b"G(ET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % target,
        "a method without end": b"X" * 100_000,
        "a method of 1,000 characters": b"X" * 1000 + b" %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % target,
        "a tunnel": b"CONNECT elsewhere:443 HTTP/1.1\r\nHost: elsewhere:443\r\n\r\n",
        "a trace": b"TRACE %s HTTP/1.1\r\nHost: localhost\r\nX-Secret: x\r\n\r\n" % target,
        "a star": b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "no address": b"GET  HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "an address elsewhere": b"GET http://elsewhere%s HTTP/1.1\r\nHost: localhost\r\n\r\n" % target,
        "an address of no host": b"GET http:///%s HTTP/1.1\r\nHost: localhost\r\n\r\n" % target,
        "an address in odd brackets": b"GET http://[::1 HTTP/1.1\r\nHost: [::1\r\n\r\n",
        "headers that do not end": b"GET %s HTTP/1.1\r\nHost: localhost\r\nX: " % target + b"x" * 200_000,
        "line feeds alone": b"GET %s HTTP/1.1\nHost: localhost\n\n" % target,
        "a proxy's preface": b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\nGET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "an odd host": b"GET %s HTTP/1.1\r\nHost: \xff/..%%00\r\n\r\n" % target,
    }
