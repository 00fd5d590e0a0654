import call
import cohere

asked = call.arguments("command-r-08-2024")
client = cohere.ClientV2()
messages = [{"role": "user", "content": asked.prompt}]
if asked.stream:
    text, usage = "", None
    for event in client.chat_stream(model=asked.model, messages=messages):
        if event.type == "content-delta":
            text += event.delta.message.content.text
        if event.type == "message-end":
            usage = event.delta.usage
else:
    answer = client.chat(model=asked.model, messages=messages)
    text, usage = answer.message.content[0].text, answer.usage
call.done(text, usage.tokens.input_tokens, usage.tokens.output_tokens)
