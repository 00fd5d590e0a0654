import call
from google import genai

asked = call.arguments("gemini-2.5-flash")
client = genai.Client()
if asked.stream:
    text, usage = "", None
    for chunk in client.models.generate_content_stream(model=asked.model, contents=asked.prompt):
        text += chunk.text or ""
        usage = chunk.usage_metadata or usage
else:
    answer = client.models.generate_content(model=asked.model, contents=asked.prompt)
    text, usage = answer.text, answer.usage_metadata
call.done(text, usage.prompt_token_count, usage.candidates_token_count)
