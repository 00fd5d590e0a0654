"""The systems that are measured: how each is started, and how the load generator reaches it."""
import http.client
import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path

from . import setup
from .paths import BENCH, CA_CERTIFICATE, CA_KEY, PROGRAMS, RESULTS, UPSTREAM_CERTIFICATE, UPSTREAM_KEY

EVERYTHING = frozenset("hit miss stream conn tunnel start memory offline".split())


@dataclass
class Route:
    """How the load generator reaches a system: as a proxy, by dialling it instead of the host, or (neither) straight upstream."""
    ca: Path = CA_CERTIFICATE
    proxy: str = ""
    dial: str = ""

    def flags(self, mode):
        # What comes through a tunnel is the upstream's own certificate.
        ca = CA_CERTIFICATE if mode == "tunnel" else self.ca
        where = {"proxy": self.proxy, "dial": self.dial}
        return ["--ca", str(ca)] + [part for name, value in where.items() if value for part in (f"--{name}", value)]


class Peer:
    """One system. `folder` is a fresh one for each start."""
    scenarios = EVERYTHING
    meaning = ""
    # Whether a repeated call must be answered from a cache: the same bytes, and no call upstream.
    caches = True

    def there(self):
        return True

    def command(self, port, folder):
        """The command line, and what is added to the environment; None when there is nothing to start."""
        return None

    def route(self, port, folder):
        """The way in once the system takes requests; None until then."""
        return Route(proxy=f"127.0.0.1:{port}")


class Direct(Peer):
    scenarios = frozenset("hit miss stream conn tunnel".split())
    caches = False
    meaning = "no system at all: the load generator talks to the fake upstream, both on one core"

    def route(self, port, folder):
        return Route()


class HyperTls(Peer):
    scenarios = frozenset("hit miss stream conn tunnel start".split())
    caches = False
    meaning = "hyper and rustls answering a constant on the system's core: no CONNECT, key, look-up or record. The floor"

    def command(self, port, folder):
        return [PROGRAMS / "upstream", "--listen", f"127.0.0.1:{port}", "--cert", UPSTREAM_CERTIFICATE, "--key", UPSTREAM_KEY], {}

    def route(self, port, folder):
        return Route(dial=f"127.0.0.1:{port}")


class Nginx(HyperTls):
    scenarios = frozenset("hit conn start".split())
    meaning = "nginx answering a constant over TLS"

    def there(self):
        return setup.nginx() is not None

    def command(self, port, folder):
        (folder / "tmp").mkdir()
        text = "The quick brown fox jumps over the lazy dog. " * 21
        reply = json.dumps({"id": "chatcmpl-nginx", "object": "chat.completion", "usage": {"prompt_tokens": 812, "completion_tokens": 140},
                            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]})
        values = {"PORT": port, "FOLDER": folder, "CERTIFICATE": UPSTREAM_CERTIFICATE, "KEY": UPSTREAM_KEY, "REPLY": reply}
        configuration = (BENCH / "nginx.conf").read_text()
        for name, value in values.items():
            configuration = configuration.replace(f"@{name}@", str(value))
        (folder / "nginx.conf").write_text(configuration)
        return [setup.nginx(), "-p", folder, "-c", folder / "nginx.conf"], {}


class Hudsucker(Peer):
    meaning = "hudsucker as it comes, SHA-256 of the body, a `HashMap`, no record"
    program = "hudpeer"
    flags = ()

    def command(self, port, folder):
        return [PROGRAMS / self.program, "--listen", f"127.0.0.1:{port}", "--ca-cert", CA_CERTIFICATE, "--ca-key", CA_KEY,
                "--upstream-ca", CA_CERTIFICATE, *self.flags], {}


class HudsuckerNodelay(Hudsucker):
    meaning = "the same with TCP_NODELAY and replies copied out of the read buffer"
    flags = ("--nodelay", "--copy")


class HudsuckerFront(Hudsucker):
    meaning = "the same again behind an entrance that reads CONNECT and the ClientHello first"
    flags = ("--nodelay", "--copy", "--front")


class HyperNaive(Hudsucker):
    meaning = "no hudsucker: hyper and tokio-rustls behind an entrance of their own; hash, `HashMap`, copies and certificates as before"
    program = "hyperpeer"


class AgentOpt(Peer):
    meaning = "AgentOpt's daemon (Python, mitmproxy), its cache on"
    # Kept between runs, since it makes an RSA authority the first time.
    home = RESULTS / "agentopt-home"

    def there(self):
        return bool(os.environ.get("BENCH_AGENTOPT")) and (setup.AGENTOPT / "bin/agentopt").exists()

    def command(self, port, folder):
        self.home.mkdir(exist_ok=True)
        programs = setup.AGENTOPT / "bin"
        return [programs / "python", programs / "agentopt", "serve", "--port", port, "--cache-dir", folder / "cache"], {"HOME": self.home}

    def route(self, port, folder):
        """A session has a proxy port of its own, so one is opened first."""
        answer = request(port, "POST", "/sessions", json.dumps({"data_id": "d", "combo_id": "c"}))
        found = answer and json.loads(answer).get("proxy_port")
        return Route(proxy=f"127.0.0.1:{found}", ca=self.home / ".mitmproxy/mitmproxy-ca-cert.pem") if found else None


class Ours(Peer):
    meaning = "agentrun-sidecar with key, usage, record and both cache layers on"
    admin_offset = 50

    def there(self):
        return setup.sidecar().exists()

    def command(self, port, folder):
        return [setup.sidecar(), "--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{port + self.admin_offset}",
                "--ca-dir", folder / "ca", "--upstream-ca", CA_CERTIFICATE, "--cache-dir", folder / "cache",
                "--records", folder / "calls.db", "--data-id", "d", "--combo-id", "c"], {}

    def route(self, port, folder):
        ready = request(port + self.admin_offset, "GET", "/readyz") is not None
        return Route(proxy=f"127.0.0.1:{port}", ca=folder / "ca/ca.pem") if ready else None


PEERS = {"direct": Direct(), "nginx": Nginx(), "hyper-tls": HyperTls(), "agentopt": AgentOpt(), "hudsucker": Hudsucker(),
         "hudsucker-nd": HudsuckerNodelay(), "hudsucker-front": HudsuckerFront(), "hyper-naive": HyperNaive(),
         "ours": Ours()}


def listening(port):
    try:
        socket.create_connection(("127.0.0.1", port), 0.2).close()
        return True
    except OSError:
        return False


def request(port, method, path, body=None):
    """The body of a 2xx answer of a control port, else None."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body, {"content-type": "application/json"} if body else {})
        response = connection.getresponse()
        content = response.read()
        return content if response.status // 100 == 2 else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
