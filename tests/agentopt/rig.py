"""A gateway and the origin behind it, each a process, and calls as an agent makes them."""

import json
import os
import re
import signal
import subprocess
import tempfile
import unittest
import urllib.request

import httpx
from agentopt import LLMTracker

PROGRAMS = os.environ["PROGRAMS"]
HOSTS = ["api.openai.com", "api.anthropic.com"]


class Origin:
    """Answers for the providers' host names over TLS; each answer's text is of its own."""

    def __init__(self, folder):
        self.log = os.path.join(folder, "origin.log")
        ca = os.path.join(folder, "origin-ca.pem")
        door = _free_port()
        command = [os.path.join(PROGRAMS, "agentrun-test-origin"), "--log", self.log, "--ca", ca, "--control", str(door)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        ready = self.process.stdout.readline()
        self.url = "https://127.0.0.1:" + re.search(r"port=(\d+)", ready).group(1)
        self.ca, self.door = ca, f"http://127.0.0.1:{door}"

    def calls(self):
        """What has arrived, oldest first."""
        return httpx.get(f"{self.door}/calls", trust_env=False).json()

    def rules(self, rules):
        """Scripts the texts of answers."""
        httpx.post(f"{self.door}/rules", params={"name": "test"}, json=rules, trust_env=False).raise_for_status()

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()


class Gateway:
    """`agentrun serve` on a free port."""

    def __init__(self, folder, origin, *arguments):
        command = [os.path.join(PROGRAMS, "agentrun"), "serve", "--port", "0", "--cache-dir", os.path.join(folder, "cache")]
        for host in HOSTS:
            command += ["--upstream", f"{host}={origin.url}"]
        command += ["--upstream-ca", origin.ca, *arguments]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        line = self.process.stderr.readline()
        found = re.search(r"listening on (http://\S+)", line)
        if found is None:
            raise RuntimeError(line + self.process.stderr.read())
        self.url = found.group(1)

    def stop(self):
        """Its exit code, once it is told to end."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait()
        self.process.stderr.close()
        return code


class Case(unittest.TestCase):
    """A test with a gateway that AgentOpt's client is pointed to."""

    arguments = ()

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.origin = Origin(folder.name)
        self.addCleanup(self.origin.stop)
        self.gateway = Gateway(folder.name, self.origin, *self.arguments)
        self.addCleanup(lambda: self.assertEqual(self.gateway.stop(), 0))
        os.environ["AGENTOPT_GATEWAY_URL"] = self.gateway.url
        self.addCleanup(os.environ.pop, "AGENTOPT_GATEWAY_URL")


def write_certificates():
    """Has AgentOpt's client write its file of certificates for this gateway, which its first session does: in threads, others read it half written."""
    with LLMTracker() as tracker, tracker.track():
        pass


def body(model, prompt, **more):
    """A chat completion's request."""
    return {"model": model, "messages": [{"role": "user", "content": prompt}], **more}


def ask(prompt, model="gpt-4o-mini", **more):
    """Asks in this process, as an SDK does; the answer's text."""
    with httpx.Client(timeout=60) as client:
        answer = client.post("https://api.openai.com/v1/chat/completions", json=body(model, prompt, **more), headers={"authorization": "Bearer k"})
    answer.raise_for_status()
    return answer.json()["choices"][0]["message"]["content"]


# An agent of its own process that knows the provider's URL and nothing else.
AGENT = """
import json, sys, urllib.request
body = json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": sys.argv[1]}]}).encode()
request = urllib.request.Request("https://api.openai.com/v1/chat/completions", body, {"content-type": "application/json"})
print(json.load(urllib.request.urlopen(request, timeout=60))["choices"][0]["message"]["content"])
"""


def _free_port():
    import socket

    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]
