import boto3
import call

asked = call.arguments("anthropic.claude-3-5-haiku-20241022-v1:0")
client = boto3.client("bedrock-runtime", region_name="us-east-1")
request = {"modelId": asked.model, "messages": [{"role": "user", "content": [{"text": asked.prompt}]}]}
if asked.stream:
    text, usage = "", None
    for event in client.converse_stream(**request)["stream"]:
        if "contentBlockDelta" in event:
            text += event["contentBlockDelta"]["delta"]["text"]
        if "metadata" in event:
            usage = event["metadata"]["usage"]
else:
    answer = client.converse(**request)
    text, usage = answer["output"]["message"]["content"][0]["text"], answer["usage"]
call.done(text, usage["inputTokens"], usage["outputTokens"])
