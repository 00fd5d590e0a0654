"""Makes what the benchmark needs and is not there yet. Nothing is installed outside its folder."""
import glob
import os
import shutil
import subprocess
import sys
from pathlib import Path

from .paths import (AUTHORITY, BENCH, CA_CERTIFICATE, CA_KEY, LLM_HOSTS, REPOSITORY, RESULTS, TOOLS, TUNNEL_HOST, UPSTREAM_CERTIFICATE,
                    UPSTREAM_IP, UPSTREAM_KEY)

AGENTOPT = TOOLS / "agentopt"
NGINX = TOOLS / "nginx/usr/sbin/nginx"


def prepare(systems):
    """Everything for these systems; a system that cannot be had is left out later, by its own word."""
    if missing := [tool for tool in ("cargo", "openssl", "unshare", "ip") if not shutil.which(tool)]:
        sys.exit(f"the benchmark needs {', '.join(missing)}: install the packages that hold them")
    for folder in (AUTHORITY, RESULTS, TOOLS):
        folder.mkdir(exist_ok=True)
    certificates()
    _cargo("programs", ["cargo", "build", "--release"], BENCH / "rust", BENCH / "rust/target")
    if "nginx" in systems and not nginx():
        unpack_nginx()
    if "agentopt" in systems and os.environ.get("BENCH_AGENTOPT"):
        install_agentopt(os.environ["BENCH_AGENTOPT"])
    if "ours" in systems and not os.environ.get("BENCH_SIDECAR"):
        # As it is shipped; the peers are optimised across crates too.
        command = ["cargo", "build", "--profile", "dist", "--package", "agentrun-sidecar", "--bin", "agentrun-sidecar"]
        _cargo("sidecar", command, REPOSITORY, target())


def target():
    return Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))


def nginx():
    found = shutil.which("nginx")
    return Path(found) if found else NGINX if NGINX.exists() else None


def sidecar():
    return Path(os.environ.get("BENCH_SIDECAR", target() / "dist/agentrun-sidecar"))


def certificates():
    """One test CA: it signs the fake upstream and is the intercepting proxies' own. All keys are P-256."""
    if UPSTREAM_CERTIFICATE.exists():
        return
    _say("making certificates")
    for key in (CA_KEY, UPSTREAM_KEY):
        _openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key)
    _openssl("req", "-x509", "-new", "-key", CA_KEY, "-days", "3650", "-subj", "/O=AgentRun benchmark/CN=AgentRun benchmark CA",
             "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign", "-out", CA_CERTIFICATE)
    request, extensions = AUTHORITY / "upstream.csr", AUTHORITY / "upstream.ext"
    names = [f"DNS:{host}" for host in [*LLM_HOSTS, TUNNEL_HOST]] + [f"IP:{UPSTREAM_IP}"]
    extensions.write_text(f"subjectAltName={','.join(names)}\nextendedKeyUsage=serverAuth\n")
    _openssl("req", "-new", "-key", UPSTREAM_KEY, "-subj", f"/CN={LLM_HOSTS[0]}", "-out", request)
    _openssl("x509", "-req", "-in", request, "-CA", CA_CERTIFICATE, "-CAkey", CA_KEY, "-CAcreateserial", "-days", "825",
             "-extfile", extensions, "-out", UPSTREAM_CERTIFICATE)


def unpack_nginx():
    """From Debian's package, unpacked and not installed, so that no service starts."""
    _say("unpacking nginx")
    try:
        subprocess.run(["apt-get", "download", "nginx", "nginx-common"], cwd=TOOLS, check=True, capture_output=True)
        for package in glob.glob(str(TOOLS / "nginx*.deb")):
            subprocess.run(["dpkg-deb", "-x", package, TOOLS / "nginx"], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        _say(f"no nginx: {error}")


def install_agentopt(checkout):
    """In a virtual environment. Its daemon has no setting for the roots it trusts upstream, so its roots file gets the test CA."""
    python = AGENTOPT / "bin/python"
    if not (AGENTOPT / "bin/agentopt").exists():
        _say(f"installing AgentOpt from {checkout}")
        subprocess.run([_recent_python(), "-m", "venv", AGENTOPT], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--editable", checkout], check=True)
    roots = Path(subprocess.run([python, "-c", "import certifi; print(certifi.where())"], check=True, capture_output=True,
                                text=True).stdout.strip())
    if CA_CERTIFICATE.read_text() not in roots.read_text():
        with roots.open("a") as file:
            file.write("\n" + CA_CERTIFICATE.read_text())


def _recent_python():
    """A Python of at least 3.12, which AgentOpt wants."""
    managed = sorted(glob.glob(os.path.expanduser("~/.pyenv/versions/3.1[2-9]*/bin/python")), reverse=True)
    for candidate in [os.environ.get("BENCH_PYTHON"), *managed, "python3.13", "python3.12", sys.executable]:
        path = candidate and shutil.which(candidate)
        check = "import sys; sys.exit(sys.version_info < (3, 12))"
        if path and subprocess.run([path, "-c", check], capture_output=True).returncode == 0:
            return path
    sys.exit("AgentOpt needs Python 3.12 or newer: name one in BENCH_PYTHON, or unset BENCH_AGENTOPT to leave it out")


def _cargo(what, command, folder, directory):
    _say(f"building the {what}")
    environment = {**os.environ, "CARGO_TARGET_DIR": str(directory)}
    if subprocess.run([*command, "--quiet"], cwd=folder, env=environment).returncode != 0:
        sys.exit(f"building the {what} failed")


def _openssl(*arguments):
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"openssl {arguments[0]} failed: {done.stderr}")


def _say(text):
    print(f"-- {text}", flush=True)
