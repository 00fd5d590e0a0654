import asyncio

import aiohttp
import call

asked = call.arguments("gpt-4.1-mini")


async def main():
    # As aiohttp is used by default: it looks at no proxy variable.
    async with aiohttp.ClientSession() as session:
        async with session.post(call.openai_url(), json=call.openai_body(asked), headers=call.openai_headers()) as answer:
            answer.raise_for_status()
            body = await answer.json()
            call.done(body["choices"][0]["message"]["content"], body["usage"]["prompt_tokens"], body["usage"]["completion_tokens"])


asyncio.run(main())
