"""An agent that does what its first argument says, after one call of the OpenAI SDK unless NO_CALL is set. One of the ways in which agents fail."""

import os
import signal
import sys
import time

if sys.argv[1] == "deaf-answer":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)

text = "nothing was asked"
if not os.environ.get("NO_CALL"):
    from openai import OpenAI

    with open(os.environ["AGENTRUN_INPUT_FILE"], encoding="utf-8") as file:
        question = file.read()
    client = OpenAI(api_key="sk-test", timeout=120)

    def ask(content: str) -> str:
        messages = [{"role": "user", "content": content}]
        answer = client.chat.completions.create(model=os.environ["AGENTRUN_MODEL_SOLVER"], messages=messages)
        return answer.choices[0].message.content

    text = ask(question)


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
    case "answer":
        write(text.encode())
    case "calls":
        for number in range(int(sys.argv[2])):
            time.sleep(float(sys.argv[3]))
            text = ask(f"{question}, again {number}")
        write(text.encode())
    case "slow-answer" | "deaf-answer":
        time.sleep(float(sys.argv[2]))
        write(text.encode())
    case unknown:
        sys.exit(f"unknown misbehaviour {unknown}")
