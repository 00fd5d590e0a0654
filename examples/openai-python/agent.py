"""Sorts a support ticket into a queue, in two steps: a summary, then the queue. Uses the OpenAI SDK as any program does."""

import os

from openai import OpenAI

QUEUES = "billing, shipping, returns, technical, account"

ticket = open(os.environ["AGENTRUN_INPUT_FILE"], encoding="utf-8").read()
client = OpenAI()

summary = client.chat.completions.create(
    model=os.environ["AGENTRUN_MODEL_SUMMARY"],
    messages=[
        {"role": "system", "content": "Say in one sentence what the customer wants."},
        {"role": "user", "content": ticket},
    ],
)

# The second step streams, to show that streams are seen too.
stream = client.chat.completions.create(
    model=os.environ["AGENTRUN_MODEL_ROUTER"],
    messages=[
        {"role": "system", "content": f"Answer with one of these words alone: {QUEUES}."},
        {"role": "user", "content": f"{ticket}\n\nIn short: {summary.choices[0].message.content}"},
    ],
    stream=True,
)
queue = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)

with open(os.environ["AGENTRUN_OUTPUT_FILE"], "w", encoding="utf-8") as output:
    output.write(queue.strip().strip(".").lower())
