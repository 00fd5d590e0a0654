"""Solves a word problem with two models: one plans, the other solves. It uses the OpenAI SDK as any program does."""

import os

from openai import OpenAI

client = OpenAI()


def ask(model: str, instruction: str, text: str) -> str:
    messages = [{"role": "system", "content": instruction}, {"role": "user", "content": text}]
    answer = client.chat.completions.create(model=model, temperature=0, messages=messages)
    return answer.choices[0].message.content


with open(os.environ["AGENTRUN_INPUT_FILE"], encoding="utf-8") as file:
    problem = file.read()
plan = ask(os.environ["AGENTRUN_MODEL_PLANNER"], "Write down the steps that solve the problem. Do not solve it.", problem)
solution = ask(
    os.environ["AGENTRUN_MODEL_SOLVER"],
    "Solve the problem by following the plan. End with the answer as a bare number.",
    f"Problem: {problem}\n\nPlan: {plan}",
)
with open(os.environ["AGENTRUN_OUTPUT_FILE"], "w", encoding="utf-8") as file:
    file.write(solution)
