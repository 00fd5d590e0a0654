"""One cache.db for AgentOpt's own daemon and the gateway: what either has paid for, the other gives, to the real SDKs."""

import http.server
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import httpx
from agentopt import LLMTracker

from rig import Gateway, Origin, _free_port

# Agents of their own processes that know a base URL and the proxy of their environment.
AGENT = """
import sys
kind, base = sys.argv[1:]
if kind.startswith("openai"):
    import openai
    client = openai.OpenAI(api_key="sk-none", base_url=(base or "https://api.openai.com") + "/v1", max_retries=0, timeout=60)
    messages = [{"role": "user", "content": "Grüße, 🦀"}]
    if kind == "openai":
        print(client.chat.completions.create(model="gpt-4o-mini", temperature=1.0, messages=messages).choices[0].message.content)
    else:
        chunks = client.chat.completions.create(model="gpt-4o-mini", messages=messages, stream=True)
        print("".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices))
else:
    import anthropic
    client = anthropic.Anthropic(api_key="none", base_url=base or "https://api.anthropic.com", max_retries=0, timeout=60)
    print(client.messages.create(model="claude-sonnet-4-5", max_tokens=99, messages=[{"role": "user", "content": "hello"}]).content[0].text)
"""
KINDS = ("openai", "openai-stream", "anthropic")


class Daemon:
    """`agentopt serve` of the package."""

    def __init__(self, cache):
        self.url = f"http://127.0.0.1:{(port := _free_port())}"
        program = os.path.join(os.path.dirname(sys.executable), "agentopt")
        command = [program, "serve", "--port", str(port), "--cache-dir", cache]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while True:
            if self.process.poll() is not None:
                raise RuntimeError(f"agentopt serve ended with {self.process.returncode}")
            try:
                httpx.get(f"{self.url}/health", trust_env=False).raise_for_status()
                return
            except httpx.TransportError:
                time.sleep(0.05)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


class Provider(http.server.BaseHTTPRequestHandler):
    """Answers over plain HTTP, which AgentOpt's daemon reads whomever it is for."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.append(asked)
        text = f"paid by agentopt, {len(self.server.asked)}"
        kind = "application/json"
        if self.path.endswith("/messages"):
            usage = {"input_tokens": 3, "output_tokens": 4}
            content = [{"type": "text", "text": text}]
            answer = {"id": "m", "type": "message", "role": "assistant", "model": asked["model"], "content": content, "usage": usage,
                      "stop_reason": "end_turn", "stop_sequence": None}
            body = json.dumps(answer)
        else:
            usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
            answer = {"id": "c", "object": "chat.completion", "created": 1, "model": asked["model"]}
            if asked.get("stream"):
                kind = "text/event-stream"
                answer["object"] = "chat.completion.chunk"
                choices = [{"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": None}]
                end = [{"index": 0, "delta": {}, "finish_reason": "stop"}]
                events = [{**answer, "choices": choices}, {**answer, "choices": end}, {**answer, "choices": [], "usage": usage}]
                body = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
            else:
                message = {"role": "assistant", "content": text}
                body = json.dumps({**answer, "choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage})
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("set-cookie", "session=another's")
        self.send_header("content-length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


class SharedFile(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder, self.cache = folder.name, os.path.join(folder.name, "cache")
        self.origin = Origin(folder.name)
        self.addCleanup(self.origin.stop)
        self.addCleanup(os.environ.pop, "AGENTOPT_GATEWAY_URL", None)

    def ask(self, backend, base=""):
        """Every agent once; (text, record) of each, once the backend has ended."""
        os.environ["AGENTOPT_GATEWAY_URL"] = backend.url
        told = []
        try:
            with LLMTracker() as tracker:
                for kind in KINDS:
                    with tracker.track(combo_id=kind) as session:
                        environment = dict(tracker.get_session_env(session))
                        environment["HTTP_PROXY"] = environment["HTTPS_PROXY"]
                        agent = subprocess.run([sys.executable, "-c", AGENT, kind, base], env={**os.environ, **environment}, capture_output=True)
                    self.assertEqual(agent.returncode, 0, agent.stderr.decode())
                    [record] = tracker.get_records(combo_id=kind)
                    told.append((agent.stdout.decode(), record))
        finally:
            backend.stop()
        return told

    def test_agentopt_gives_what_we_have_paid(self):
        paid = self.ask(Gateway(self.folder, self.origin))
        self.assertEqual(len(self.origin.calls()), len(KINDS))
        # AgentOpt's daemon would dial the real host before it reads a call inside TLS; of plain calls it dials nobody for a hit.
        given = self.ask(Daemon(self.cache), f"http://127.0.0.1:{_free_port()}")
        for (text, first), (again, record) in zip(paid, given):
            self.assertEqual((again, record.cached, first.cached), (text, True, False))
            self.assertEqual(record.latency_seconds, first.latency_seconds)
        self.assertEqual(len(self.origin.calls()), len(KINDS))

    def test_we_give_what_agentopt_has_paid(self):
        provider = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Provider)
        provider.asked = []
        self.addCleanup(provider.server_close)
        threading.Thread(target=provider.serve_forever, daemon=True).start()
        self.addCleanup(provider.shutdown)
        paid = self.ask(Daemon(self.cache), f"http://127.0.0.1:{provider.server_port}")
        self.assertEqual(len(provider.asked), len(KINDS))
        given = self.ask(Gateway(self.folder, self.origin))
        for (text, first), (again, record) in zip(paid, given):
            self.assertIn("paid by agentopt", again)
            self.assertEqual((again, record.cached, first.cached), (text, True, False))
            self.assertEqual((record.latency_seconds, record.prompt_tokens, record.completion_tokens), (first.latency_seconds, 3, 4))
        self.assertEqual((len(self.origin.calls()), len(provider.asked)), (0, len(KINDS)))
