import call
import litellm

asked = call.arguments("claude-sonnet-4-5")
messages = [{"role": "user", "content": asked.prompt}]
answer = litellm.completion(model=f"anthropic/{asked.model}", messages=messages, max_tokens=64, stream=asked.stream, num_retries=0)
if asked.stream:
    call.done("".join(chunk.choices[0].delta.content or "" for chunk in answer if chunk.choices))
else:
    call.done(answer.choices[0].message.content, answer.usage.prompt_tokens, answer.usage.completion_tokens)
