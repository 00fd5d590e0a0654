"""Where things are, and the addresses that every part of the benchmark uses."""
from pathlib import Path

BENCH = Path(__file__).resolve().parent.parent
REPOSITORY = BENCH.parent.parent
AUTHORITY = BENCH / "ca"
CA_CERTIFICATE = AUTHORITY / "ca.pem"
CA_KEY = AUTHORITY / "ca.key"
UPSTREAM_CERTIFICATE = AUTHORITY / "upstream.pem"
UPSTREAM_KEY = AUTHORITY / "upstream.key"
RESULTS = BENCH / "results"
TOOLS = BENCH / "tools"
PROGRAMS = BENCH / "rust/target/release"
PERFORMANCE_PAGE = REPOSITORY / "docs/performance.md"

UPSTREAM_IP = "127.77.0.1"
LLM_HOSTS = ["api.openai.com", "api.anthropic.com"]
TUNNEL_HOST = "files.example.test"
