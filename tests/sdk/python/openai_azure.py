import call
from openai import AzureOpenAI

asked = call.arguments("gpt-4.1-mini")
client = AzureOpenAI(
    azure_endpoint="https://agentrun-test.openai.azure.com",
    api_version="2024-10-21",
    api_key="not-a-real-key",
    max_retries=0,
)
messages = [{"role": "user", "content": asked.prompt}]
if asked.stream:
    text = ""
    for chunk in client.chat.completions.create(model=asked.model, messages=messages, stream=True):
        if chunk.choices:
            text += chunk.choices[0].delta.content or ""
    call.done(text)
else:
    answer = client.chat.completions.create(model=asked.model, messages=messages)
    call.done(answer.choices[0].message.content, answer.usage.prompt_tokens, answer.usage.completion_tokens)
