import json

import boto3
import call

asked = call.arguments("anthropic.claude-3-5-haiku-20241022-v1:0")
client = boto3.client("bedrock-runtime", region_name="us-east-1")
body = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 64, "messages": [{"role": "user", "content": asked.prompt}]}
request = {"modelId": asked.model, "body": json.dumps(body)}
if asked.stream:
    text = ""
    for event in client.invoke_model_with_response_stream(**request)["body"]:
        chunk = json.loads(event["chunk"]["bytes"])
        if chunk["type"] == "content_block_delta":
            text += chunk["delta"]["text"]
    call.done(text)
else:
    answer = json.loads(client.invoke_model(**request)["body"].read())
    call.done(answer["content"][0]["text"], answer["usage"]["input_tokens"], answer["usage"]["output_tokens"])
