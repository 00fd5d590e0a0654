"""Finds the total of an invoice. Uses the Anthropic SDK as any program does, as a stream."""

import os

from anthropic import Anthropic

invoice = open(os.environ["AGENTRUN_INPUT_FILE"], encoding="utf-8").read()
with Anthropic().messages.stream(
    model=os.environ["AGENTRUN_MODEL_READER"],
    max_tokens=256,
    system="Work out the invoice's total. End with the number alone on the last line.",
    messages=[{"role": "user", "content": invoice}],
) as stream:
    answer = "".join(stream.text_stream)

with open(os.environ["AGENTRUN_OUTPUT_FILE"], "w", encoding="utf-8") as output:
    output.write(answer)
