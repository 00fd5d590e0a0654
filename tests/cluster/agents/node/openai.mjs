// Asks one question with the OpenAI SDK.
import { readFileSync, writeFileSync } from "node:fs";
import OpenAI from "openai";

const question = readFileSync(process.env.AGENTRUN_INPUT_FILE, "utf8");
const answer = await new OpenAI({ apiKey: "sk-test" }).chat.completions.create({
  model: process.env.AGENTRUN_MODEL_SOLVER,
  messages: [{ role: "user", content: question }],
});
writeFileSync(process.env.AGENTRUN_OUTPUT_FILE, answer.choices[0].message.content);
