"""Asks one question with aiohttp as it comes: it heeds no proxy variable."""

import asyncio
import os

import aiohttp


async def main() -> None:
    with open(os.environ["AGENTRUN_INPUT_FILE"], encoding="utf-8") as file:
        question = file.read()
    body = {"model": os.environ["AGENTRUN_MODEL_SOLVER"], "messages": [{"role": "user", "content": question}]}
    headers = {"Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"}
    async with aiohttp.ClientSession() as session:
        async with session.post("https://api.openai.com/v1/chat/completions", json=body, headers=headers) as answer:
            answer.raise_for_status()
            told = await answer.json()
    with open(os.environ["AGENTRUN_OUTPUT_FILE"], "w", encoding="utf-8") as file:
        file.write(told["choices"][0]["message"]["content"])


asyncio.run(main())
