// Calls deployments by Hugging Face's client for JavaScript, as it is; prints each answer. Used by
// test_huggingface_js_client.py, which puts this file beside node_modules.
import { InferenceClient } from "@huggingface/inference";

const [url, asked] = process.argv.slice(2);
const client = new InferenceClient();

async function answer({ name, task, args }) {
  const endpoint = client.endpoint(`${url}/hf/${name}`);
  try {
    const found = endpoint[task](args);
    if (!task.endsWith("Stream")) return await found;
    const parts = [];
    for await (const part of found) parts.push(part);
    return parts;
  } catch (error) {
    return { failed: error.message, ...error.httpResponse };
  }
}

const answers = [];
for (const call of JSON.parse(asked)) answers.push(await answer(call));
console.log(JSON.stringify(answers));
