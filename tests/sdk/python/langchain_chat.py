import call
from langchain_openai import ChatOpenAI

asked = call.arguments("gpt-4.1-mini")
model = ChatOpenAI(model=asked.model, max_retries=0)
if asked.stream:
    answer = None
    for chunk in model.stream(asked.prompt):
        answer = chunk if answer is None else answer + chunk
else:
    answer = model.invoke(asked.prompt)
usage = answer.usage_metadata or {}
call.done(answer.content, usage.get("input_tokens"), usage.get("output_tokens"))
