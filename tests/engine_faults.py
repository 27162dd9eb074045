"""What can go wrong between here and an engine: each fault answers one request in place of the engine."""

import gzip
import time
from collections.abc import Callable
from contextlib import suppress

from engine_servers import Body, Handler

Fault = Callable[[Handler], None]
HTML = b"<html><head><title>502 Bad Gateway</title></head><body><h1>nginx</h1></body></html>"
TRACEBACK = b'{"error": {"message": "Traceback (most recent call last):\\n  File \\"a.py\\"\\nRuntimeError: boom"}}'
HOSTILE = b'{"error": {"message": "\\u001b[31mred\\u001b[0m \\u202e[/b]\\u0000 x"}}'
TOO_LONG = (
    b'{"error":{"message":"This model\'s maximum context length is 1024 tokens. However, your prompt contains at least '
    b'1025 input tokens, which exceeds this limit even without any output tokens.","type":"BadRequestError"}}'
)


def status(code: int, body: bytes = b"", **headers: str) -> Fault:
    """An answer with its length."""
    return lambda handler: handler.send(code, body, **headers)


def raw(*parts: bytes, pause: float = 0.0, end: bool = True) -> Fault:
    """Bytes as they are, then the end of the connection; without `end`, silence until the client leaves."""

    def fault(handler: Handler) -> None:
        handler.close_connection = True
        for part in parts:
            handler.wfile.write(part)
            handler.wfile.flush()
            time.sleep(pause)
        if not end:
            handler.connection.settimeout(3)
            with suppress(TimeoutError):
                handler.connection.recv(1)

    return fault


def endless(handler: Handler) -> None:
    """Chunks without an end."""
    handler.close_connection = True
    handler.wfile.write(OK + b"Transfer-Encoding: chunked\r\n\r\n")
    while True:
        handler.wfile.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")


OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
FAULTS: dict[str, tuple[Fault, str]] = {
    "401 of vLLM": (status(401, b'{"error": "Unauthorized"}'), "refuses access"),
    "401 of llama-server": (status(401, b'{"error":{"message":"Invalid API Key","code":401}}'), "Invalid API Key"),
    "403": (status(403, HTML, Content_Type="text/html"), "refuses access"),
    "404": (status(404, b'{"detail":"Not Found"}'), "Not Found"),
    "404 of a model": (status(404, b'{"error":{"message":"The model `x` does not exist."}}'), "does not exist"),
    "404 of a proxy": (status(404, HTML, Content_Type="text/html"), "HTML"),
    "405": (status(405), "405"),
    "418 with nothing": (status(418), "418"),
    "429": (status(429, b'{"error":{"message":"Rate limit"}}'), "asked too often"),
    "429 with Retry-After": (status(429, b"", Retry_After="1"), "asked too often"),
    "429 with a date": (status(429, b"", Retry_After="Wed, 21 Oct 2099 07:28:00 GMT"), "asked too often"),
    "429 with a date that is over": (status(429, b"", Retry_After="Wed, 21 Oct 2015 07:28:00 GMT"), "asked too often"),
    "429 with a negative time": (status(429, b"", Retry_After="-5"), "asked too often"),
    "429 with a huge time": (status(429, b"", Retry_After="9" * 40), "asked too often"),
    "429 with nonsense": (status(429, b"", Retry_After="soon"), "asked too often"),
    "500": (status(500, b"Internal Server Error", Content_Type="text/plain"), "failed"),
    "500 with a traceback": (status(500, TRACEBACK), "boom"),
    "500 with nothing": (status(500), "failed"),
    "502 of a proxy": (status(502, HTML, Content_Type="text/html"), "proxy"),
    "503 while a model is loaded": (status(503, b'{"error":{"message":"Loading model","code":503}}'), "Loading model"),
    "503 with nothing": (status(503), "not ready"),
    "504": (status(504, HTML), "proxy"),
    "400 of a prompt that is too long": (status(400, TOO_LONG), "maximum context length is 1024"),
    "400 with control characters": (status(400, HOSTILE), "red"),
    "400 with half of a character": (status(400, b'{"message": "\\ud800"}'), "refuses the request"),
    "400 with a long text": (status(400, b'{"message": "' + b"x" * 100_000 + b'"}'), "xxx"),
    "301 to another host": (status(301, b"", Location="http://evil.example/"), "redirects"),
    "302 without a place": (status(302), "redirects"),
    "307 to itself": (status(307, b"", Location="/v1/completions"), "redirects"),
    "308 with control characters": (status(308, b"", Location="http://a/\x1b[2J"), ""),
    "204": (raw(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"), "204"),
    "no answer": (raw(end=False), "no answer in time"),
    "half of the headers": (raw(OK, end=False), "no answer in time"),
    "a body that stalls": (raw(OK + b"Content-Length: 99\r\n\r\n{", end=False), "did not end it"),
    "a body that drips": (raw(OK + b"Content-Length: 99\r\n\r\n", *[b" "] * 60, pause=0.02), "did not end it"),
    "cut before the answer": (raw(), "cut the connection"),
    "cut in the headers": (raw(OK), "cut the connection"),
    "cut in the body": (raw(OK + b"Content-Length: 99\r\n\r\n{"), "cut the connection"),
    "cut between chunks": (raw(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{\r\n"), "cut the connection"),
    "chunks of no size": (raw(OK + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n{}\r\n0\r\n\r\n"), "cut the connection"),
    "another protocol": (raw(b"SSH-2.0-OpenSSH_9.6\r\n"), "cut the connection"),
    "bytes": (raw(bytes(range(256))), "cut the connection"),
    "a line without end": (raw(b"HTTP/1.1 200 " + b"x" * 300_000), "cut the connection"),
    "headers without end": (raw(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 60_000), "cut the connection"),
    "a negative length": (raw(OK + b"Content-Length: -1\r\n\r\n{}"), "cut the connection"),
    "two lengths": (raw(OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}"), "cut the connection"),
    "a huge body": (status(200, b" " * 2_000_000), "more than 1,000,000 bytes"),
    "a body without end": (endless, "more than 1,000,000 bytes"),
    "a huge length": (raw(OK + b"Content-Length: 99999999999\r\n\r\n{", end=False), "did not end it"),
    "bad gzip": (status(200, b"{}", Content_Encoding="gzip"), "decompressed"),
    "much from little": (status(200, gzip.compress(b" " * 50_000_000), Content_Encoding="gzip"), "more than"),
    "a page of HTML": (status(200, HTML, Content_Type="text/html"), "a page of HTML"),
    "nothing": (status(200), "not JSON"),
    "text": (status(200, b"Ollama is running"), "not JSON"),
    "half of an answer": (status(200, b'{"choices": [{"logprobs": {"top_logp'), "not JSON"),
    "two answers": (status(200, b'{"choices": []} {"choices": []}'), "not JSON"),
    "not UTF-8": (status(200, b'{"choices": "\xff\xfe"}'), ""),
    "deep JSON": (status(200, b'{"choices": ' + b"[" * 100_000), ""),
    "deep JSON that is skipped": (status(200, b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"), ""),
    "a number": (status(200, b"7"), "not what was expected"),
    "null": (status(200, b"null"), "not what was expected"),
    "another object": (status(200, b'{"object": "list"}'), "not what was expected"),
    "an error with status 200": (status(200, b'{"error": {"message": "no slot is free"}}'), "no slot is free"),
}


def answers(fault: Fault) -> Callable[[str, Body, Handler], None]:
    """A server's `respond` that has one fault for every request."""
    return lambda path, body, handler: fault(handler)
