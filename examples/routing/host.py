"""Hosts an AgentOpt Router class, as it is, as a routing webhook.

    python3 host.py MODULE:CLASS '{"its": "arguments"}' http://127.0.0.1:8700/
    python3 host.py MODULE:CLASS '{"its": "arguments"}' unix:///tmp/policy.sock
"""

import http.server, importlib, json, os, socketserver, sys, types, urllib.parse

from agentopt import CallRecord, SessionInfo
from agentopt.routing import RouteContext


class Host(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        ids = {name: asked[name] for name in ("data_id", "combo_id", "agent_id")}
        history = [past(ids, call) for call in asked["history"]]
        session = SessionInfo(session_id="", records=history, **ids)
        request = types.MappingProxyType(asked["request"] or {})
        model = self.server.router.route(RouteContext(request, asked["provider"], asked["model"], session, tuple(history)))
        body = json.dumps({"model": model}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def past(ids, call):
    tokens = {"prompt_tokens": call["input_tokens"] or 0, "completion_tokens": call["output_tokens"] or 0}
    outcome = {"latency_seconds": call["latency_seconds"], "cached": call["cached"], "status_code": call["status"]}
    return CallRecord(**ids, **tokens, **outcome, model=call["model"], request_url="")


class UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


sys.path.insert(0, os.getcwd())
name, arguments, url = sys.argv[1], json.loads(sys.argv[2]), urllib.parse.urlsplit(sys.argv[3])
module, _, attribute = name.partition(":")
if url.scheme == "unix":
    server = UnixServer(url.path, Host)
else:
    server = http.server.ThreadingHTTPServer((url.hostname, url.port), Host)
server.router = getattr(importlib.import_module(module), attribute)(**arguments)
server.serve_forever()
