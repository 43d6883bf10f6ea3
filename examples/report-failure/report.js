async function report(position, error, attempts = 1) {
  // Resolves when the dead letter is durable. If it rejects, the outcome is unknown: call it again.
  const answer = await fetch(`${process.env.TRACECAR_URL ?? "http://127.0.0.1:8425"}/v1/failures`, {
    method: "POST",
    headers: { Authorization: `Bearer ${process.env.TRACECAR_TOKEN}`, "Content-Type": "application/json" },
    body: JSON.stringify({
      position,
      group: "billing",
      attempts,
      error: { type: error.name, message: error.message, stacktrace: error.stack },
    }),
    signal: AbortSignal.timeout(30_000),
  });
  if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);
  return answer.json();
}
