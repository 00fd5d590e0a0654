import { arguments_, done, openaiBody, openaiHeaders, openaiText } from "./call.mjs";

const asked = arguments_("gpt-4.1-mini");
const base = process.env.OPENAI_BASE_URL ?? "https://api.openai.com/v1";
const answer = await fetch(`${base}/chat/completions`, { method: "POST", headers: openaiHeaders, body: JSON.stringify(openaiBody(asked)) });
if (!answer.ok) throw new Error(`status ${answer.status}: ${await answer.text()}`);
if (asked.stream) {
  done(await openaiText(answer.body));
} else {
  const body = await answer.json();
  done(body.choices[0].message.content, body.usage.prompt_tokens, body.usage.completion_tokens);
}
