"""An agent for the tests, of the standard library alone: CALLS chat completions, one of them the same for every trial, and an output that names them.

The shared call waits at the origin so that many trials have it in flight at once.
"""

import json
import os
import urllib.request

question = open(os.environ["AGENTRUN_INPUT_FILE"], encoding="utf-8").read()
model = os.environ["AGENTRUN_MODEL_SOLVER"]
trial = f"{os.environ['AGENTRUN_COMBO_ID']}/{os.environ['AGENTRUN_DATA_ID']}"


def ask(prompt, model, delay):
    body = {"model": model, "messages": [{"role": "user", "content": prompt}]}
    headers = {"content-type": "application/json", "authorization": "Bearer sk-test", "x-origin-delay-ms": delay}
    request = urllib.request.Request("https://api.openai.com/v1/chat/completions", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)["choices"][0]["message"]["content"]


answers = [ask("the shared question", "gpt-4.1", os.environ.get("SHARED_DELAY", "0"))]
for number in range(1, int(os.environ.get("CALLS", "5"))):
    answers.append(ask(f"trial {trial} {question} call {number}", model, os.environ.get("OWN_DELAY", "0")))
with open(os.environ["AGENTRUN_OUTPUT_FILE"], "w", encoding="utf-8") as output:
    output.write(f"{trial}: {len(answers)} answers")
