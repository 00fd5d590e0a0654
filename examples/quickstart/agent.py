"""Solves a word problem with two models: one plans, the other solves.

It knows nothing of AgentRun but four environment variables, and calls OpenAI as it would anywhere.
"""

import json
import os
import urllib.request

URL = "https://api.openai.com/v1/chat/completions"


def ask(model: str, instruction: str, question: str) -> str:
    messages = [{"role": "system", "content": instruction}, {"role": "user", "content": question}]
    body = json.dumps({"model": model, "temperature": 0, "messages": messages}).encode()
    key = os.environ.get("OPENAI_API_KEY", "no-key")
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    with urllib.request.urlopen(urllib.request.Request(URL, body, headers), timeout=60) as answer:
        return json.load(answer)["choices"][0]["message"]["content"]


def main() -> None:
    with open(os.environ["AGENTRUN_INPUT_FILE"], encoding="utf-8") as file:
        question = file.read()
    plan = ask(os.environ["AGENTRUN_MODEL_PLANNER"], "Write down the steps that solve the problem. Do not solve it.", question)
    solution = ask(
        os.environ["AGENTRUN_MODEL_SOLVER"],
        "Solve the problem by following the plan. End with the answer as a bare number.",
        f"Problem: {question}\n\nPlan: {plan}",
    )
    with open(os.environ["AGENTRUN_OUTPUT_FILE"], "w", encoding="utf-8") as file:
        file.write(solution)


if __name__ == "__main__":
    main()
