"use strict";

const form = document.getElementById("key-form");
const message = document.getElementById("message");

function showMessage(text) {
  message.textContent = text;
  message.hidden = !text;
}

async function show(key) {
  const headers = key ? { authorization: `Bearer ${key}` } : {};
  const reply = await fetch("docs.json", { headers });
  form.hidden = reply.status !== 401;
  if (!reply.ok) {
    showMessage(key || reply.status !== 401 ? (await reply.json()).error.message : "");
    return;
  }
  showMessage("");
  const ui = SwaggerUIBundle({
    spec: await reply.json(),
    dom_id: "#swagger-ui",
    deepLinking: true,
    validatorUrl: null,
    onComplete: () => key && ui.preauthorizeApiKey("HTTPBearer", key),
  });
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  show(document.getElementById("key").value.trim());
});
show("");
