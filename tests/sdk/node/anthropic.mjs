import Anthropic from "@anthropic-ai/sdk";
import { arguments_, done } from "./call.mjs";

const asked = arguments_("claude-sonnet-4-5");
const client = new Anthropic({ maxRetries: 0 });
const request = { model: asked.model, max_tokens: 64, messages: [{ role: "user", content: asked.prompt }] };
const answer = asked.stream ? await client.messages.stream(request).finalMessage() : await client.messages.create(request);
done(answer.content[0].text, answer.usage.input_tokens, answer.usage.output_tokens);
