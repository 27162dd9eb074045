"""The driver of an app that a browser shows: input and output are packets through pipes to `tokenwalk serve`."""

import json
from codecs import getincrementaldecoder
from typing import Any

from textual.drivers._byte_stream import ByteStream
from textual.drivers.web_driver import WebDriver
from textual.messages import ExitApp

from tui.driver import InputParser


class BrowserDriver(WebDriver):
    """Textual's driver with the parser of the terminal. The app ends with its input, so that none is left over."""

    def run_input_thread(self) -> None:
        parser, packets = InputParser(self._debug), ByteStream()
        decode = getincrementaldecoder("utf-8")("replace").decode
        for data in self._input_reader:
            for kind, payload in packets.feed(data) if data else ():
                if kind == "D":
                    for message in parser.feed(decode(payload)):
                        self.process_message(message)
                else:
                    self._on_meta(kind, payload)
            for message in parser.tick():
                self.process_message(message)
        if not self.exit_event.is_set():  # the server has gone
            self._app.post_message(ExitApp())

    def on_meta(self, packet_type: str, payload: dict[str, Any]) -> None:
        """What the server says beside keys. No file is sent to a browser, so that none is asked for."""
        if packet_type in ("resize", "quit"):
            super().on_meta(packet_type, payload)

    def write_meta(self, data: dict[str, object]) -> None:
        """Tell the server something, such as that the app has ended; it may have gone already."""
        self._send(b"M", json.dumps(data).encode())

    def write(self, data: str) -> None:
        self._send(b"D", data.encode("utf-8", "replace"))

    def _send(self, kind: bytes, content: bytes) -> None:
        try:
            self._write(b"%s%s%s" % (kind, len(content).to_bytes(4, "big"), content))
        except BrokenPipeError:  # the end of the input ends the app
            self.exit_event.set()
            self._app.post_message(ExitApp())
