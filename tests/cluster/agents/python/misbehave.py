"""An agent that does what its first argument says, after one call of the OpenAI SDK unless NO_CALL is set. One of the ways in which agents fail.

A question with the word `held` keeps `answer` and `deaf-answer` from ending at their first try: at another, the call is answered from the cache.
"""

import os
import pathlib
import signal
import sys
import time

if sys.argv[1] == "deaf-answer":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)

text = "nothing was asked"
is_held = False
if not os.environ.get("NO_CALL"):
    from openai import OpenAI

    with open(os.environ["AGENTRUN_INPUT_FILE"], encoding="utf-8") as file:
        question = file.read()
    client = OpenAI(api_key="sk-test", timeout=120)

    def ask(content: str) -> tuple[str, bool]:
        """The answer, and whether it was stored."""
        messages = [{"role": "user", "content": content}]
        answer = client.chat.completions.with_raw_response.create(model=os.environ["AGENTRUN_MODEL_SOLVER"], messages=messages)
        return answer.parse().choices[0].message.content, answer.headers.get("x-agentrun-cache") == "hit"

    text, is_stored = ask(question)
    is_held = "held" in question.split() and not is_stored


def write(data: bytes) -> None:
    with open(os.environ["AGENTRUN_OUTPUT_FILE"], "wb") as file:
        file.write(data)


match sys.argv[1]:
    case "exit":
        sys.exit(int(sys.argv[2]))
    case "signal":
        os.kill(os.getpid(), signal.SIGKILL)
    case "hang":
        time.sleep(3600)
    case "ignore-sigterm":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        write(b"too late")
        time.sleep(3600)
    case "memory":
        held = []
        while True:
            held.append(bytearray(16 << 20))
    case "no-output":
        pass
    case "large-output":
        write(b"x" * (2 << 20))
    case "binary-output":
        write(b"\xff\xfe\x00")
    case "answer" | "deaf-answer":
        if is_held:
            time.sleep(3600)
        write(text.encode())
    case "answer-when-released":
        # The test makes the file, in the one folder that can be written to.
        released = pathlib.Path(os.environ["AGENTRUN_OUTPUT_FILE"]).with_name("released")
        while not released.exists():
            time.sleep(0.1)
        write(text.encode())
    case "calls":
        for number in range(int(sys.argv[2])):
            time.sleep(float(sys.argv[3]))
            text, _ = ask(f"{question}, again {number}")
        write(text.encode())
    case unknown:
        sys.exit(f"unknown misbehaviour {unknown}")
