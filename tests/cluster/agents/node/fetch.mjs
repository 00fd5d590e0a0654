// Asks one question with fetch as Node 20 has it: it heeds no proxy variable.
import { readFileSync, writeFileSync } from "node:fs";

const question = readFileSync(process.env.AGENTRUN_INPUT_FILE, "utf8");
const answer = await fetch("https://api.openai.com/v1/chat/completions", {
  method: "POST",
  headers: { "content-type": "application/json", authorization: "Bearer sk-test" },
  body: JSON.stringify({ model: process.env.AGENTRUN_MODEL_SOLVER, messages: [{ role: "user", content: question }] }),
});
if (!answer.ok) throw new Error(`status ${answer.status}`);
writeFileSync(process.env.AGENTRUN_OUTPUT_FILE, (await answer.json()).choices[0].message.content);
