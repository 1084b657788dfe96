"""The venue: takes orders over HTTP, unless a switch says what is wrong with it."""

import json
import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Venue(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        wrong = [name.removeprefix("venue-") for name in os.listdir("/switches") if name.startswith("venue-")]
        if "hangs" in wrong:
            time.sleep(30)
        status = next((int(name) for name in wrong if name.isdigit()), 201)
        body = json.dumps({"orderId": os.urandom(6).hex()} if status == 201 else {"detail": self.responses[status][0]})
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())


ThreadingHTTPServer(("0.0.0.0", 9301), Venue).serve_forever()
