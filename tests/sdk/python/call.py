"""What the client scripts share: their arguments, and the one line that they print."""

import argparse
import json
import sys


def arguments(default_model):
    parser = argparse.ArgumentParser()
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--model", default=default_model)
    parser.add_argument("--prompt", default="Say hello.")
    return parser.parse_args()


def done(text, input_tokens=None, output_tokens=None):
    """Prints what the SDK made of the answer; a text that is not there is a failure."""
    if not text:
        sys.exit("the SDK gave no text")
    print(json.dumps({"text": text, "input_tokens": input_tokens, "output_tokens": output_tokens}, ensure_ascii=False))


def openai_body(asked):
    """The body of a chat completion for the clients that are no SDK."""
    return {"model": asked.model, "messages": [{"role": "user", "content": asked.prompt}], "stream": asked.stream}


def openai_text(lines):
    """The text of a chat completion's stream, from its lines."""
    text = ""
    ended = False
    for line in lines:
        if isinstance(line, bytes):
            line = line.decode()
        if not line.startswith("data:"):
            continue
        data = line[5:].strip()
        if data == "[DONE]":
            ended = True
            continue
        for choice in json.loads(data)["choices"]:
            text += choice["delta"].get("content") or ""
    if not ended:
        sys.exit("the stream has no end")
    return text


def openai_url():
    return "https://api.openai.com/v1/chat/completions"


def openai_headers():
    return {"authorization": "Bearer sk-test-not-a-real-key", "content-type": "application/json"}
