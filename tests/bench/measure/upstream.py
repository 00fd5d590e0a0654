"""The fake upstream, which counts what reaches it."""
import http.client
import json
import ssl
import time

from . import processes
from .paths import CA_CERTIFICATE, PROGRAMS, UPSTREAM_CERTIFICATE, UPSTREAM_IP, UPSTREAM_KEY
from .system import spawn

CHUNKS, CHUNK_MS = 50, 20


class Upstream:
    def __init__(self, core):
        self.trust = ssl.create_default_context(cafile=str(CA_CERTIFICATE))
        self.process = spawn(core, [PROGRAMS / "upstream", "--listen", f"{UPSTREAM_IP}:443", "--cert", UPSTREAM_CERTIFICATE, "--key",
                                    UPSTREAM_KEY, "--chunks", CHUNKS, "--chunk-ms", CHUNK_MS])
        for _ in range(500):
            try:
                self.counters()
                return
            except OSError:
                if self.process.poll() is not None:
                    break
                time.sleep(0.01)
        raise RuntimeError("the fake upstream did not start")

    def counters(self):
        """`connections`, `chats` and `streams` since its start."""
        if not self.process:
            return {"connections": 0, "chats": 0, "streams": 0}
        connection = http.client.HTTPSConnection(UPSTREAM_IP, 443, context=self.trust, timeout=10)
        connection.request("GET", "/__stats")
        counters = json.loads(connection.getresponse().read())
        connection.close()
        return counters

    def cpu_seconds(self):
        return processes.cpu_seconds(self.process.pid) if self.process else 0.0

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None
