"""Takes what a webhook sends: a line for each event in a file, and its port in another. For tests."""

import http.server
import json
import os
import sys

events, port = sys.argv[1:]


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        signed = self.headers["webhook-signature"]
        with open(events, "a", encoding="utf-8") as file:
            file.write(f"{event['type']} {event['subject']} {event['op']} {bool(signed)}\n")
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
with open(port + ".new", "w", encoding="utf-8") as file:
    file.write(str(server.server_port))
os.rename(port + ".new", port)
server.serve_forever()
