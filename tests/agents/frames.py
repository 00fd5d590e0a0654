"""Prints each frame of a stream as the SDK gives it: what it prints is what has arrived."""

import os

from openai import OpenAI

headers = {"x-origin-gate": os.environ["GATE"]}
client = OpenAI(max_retries=0, default_headers=headers)
stream = client.chat.completions.create(model="gpt-4.1-mini", messages=[{"role": "user", "content": "Go on."}], stream=True)
for chunk in stream:
    print(repr(chunk.choices[0].delta.content), chunk.choices[0].finish_reason, flush=True)
print("end", flush=True)
