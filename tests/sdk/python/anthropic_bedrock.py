import call
from anthropic import AnthropicBedrock

asked = call.arguments("anthropic.claude-3-5-haiku-20241022-v1:0")
client = AnthropicBedrock(aws_region="us-east-1", max_retries=0)
message = client.messages.create(model=asked.model, max_tokens=100, messages=[{"role": "user", "content": asked.prompt}])
call.done(message.content[0].text, message.usage.input_tokens, message.usage.output_tokens)
